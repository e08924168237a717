"""Bundles on their way: archives, keys, signatures."""
