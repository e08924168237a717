"""config.json: what a run was told and started from, beside what it made."""

from __future__ import annotations

import platform
from typing import Any

from export import pack
from pipeline import __version__
from pipeline.stages.context import Context
from serve.files import write_json


def versions() -> dict[str, str]:
    """Versions of svfit, Python and the packages that decide results."""
    found = pack.versions((*pack.PACKAGES, "accelerate", "safetensors"))
    return found | {"svfit": __version__, "python": platform.python_version()}


def write_config(context: Context) -> None:
    """The resolved configuration, versions, seed, and hashes of data and base model."""
    config = context.config
    document: dict[str, Any] = {
        "name": config.name,
        "config": config.resolved(),
        "versions": versions(),
        "seed": config.train.seed,
        "base": context.base,
        "data": {
            split.name: {"source": split.source, "sha256": split.sha256, "rows": len(split.labels)}
            for split in context.dataset.splits()
        },
    }
    write_json(context.folder / "config.json", document)
