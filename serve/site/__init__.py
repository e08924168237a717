"""Releases of a server: installed beside one another, one of them current, each switched to whole or not at all."""
