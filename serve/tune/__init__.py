"""Choosing variant and settings on the device, by measuring."""
