"""Adapters: read and held to the bundle, kept on disk with versions and defaults, and in memory while in use."""
