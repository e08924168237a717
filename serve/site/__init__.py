"""Releases of a bundle on a server: installed beside each other, switched, rolled back."""
