"""Batches across requests and adapters: rows alike in length, nobody starved."""
