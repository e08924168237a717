"""Labelled rows: read from files or a hub, split, and looked at before anything is trained."""

from __future__ import annotations

from pipeline.data.dataset import Dataset, Split
from pipeline.data.load import load_dataset
from pipeline.data.profiling import profile
from pipeline.data.render import render_profile

__all__ = ["Dataset", "Split", "load_dataset", "profile", "render_profile"]
