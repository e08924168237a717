"""Promotion: hot adapters get a folded session of their own."""
