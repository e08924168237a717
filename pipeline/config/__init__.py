"""One TOML file, validated as a whole before anything heavy is imported."""

from __future__ import annotations

from .loading import load
from .schema import (
    AdapterSection,
    Config,
    DataSection,
    ExportSection,
    ModelSection,
    QuantizeSection,
    TrainSection,
)
from .template import template

__all__ = [
    "AdapterSection",
    "Config",
    "DataSection",
    "ExportSection",
    "ModelSection",
    "QuantizeSection",
    "TrainSection",
    "load",
    "template",
]
