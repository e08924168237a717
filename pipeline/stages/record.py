"""config.json: what a run was told and started from, beside what it made."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from pipeline import __version__
from pipeline.stages.context import Context
from serve.files import write_json

PACKAGES = ("torch", "transformers", "onnx", "onnxruntime", "tokenizers", "numpy", "accelerate", "safetensors")


def versions() -> dict[str, str]:
    """Versions of svfit, Python and the packages that decide results."""
    found = {"svfit": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_config(context: Context) -> None:
    """The resolved configuration, versions, seed, and hashes of data and base model."""
    config = context.config
    document: dict[str, Any] = {
        "name": config.name,
        "config": config.resolved(),
        "versions": versions(),
        "seed": config.train.seed,
        "base": {"name": context.source.name, "sha256": context.source.sha256()},
        "data": {
            split.name: {"source": split.source, "sha256": split.sha256, "rows": len(split.labels)}
            for split in context.dataset.splits()
        },
    }
    write_json(context.folder / "config.json", document)
