"""Swappable graphs: one backbone with a `sigma` input, heads cut off, and the directions it carries."""
