"""Archives as an attacker would make them: every byte by hand, in the form that svfit's reader takes."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serve.delivery.zipform import table, write_entry
from serve.manifest import manifest_digest

Parts = Sequence[tuple[str, bytes]]


def zipped(parts: Parts) -> bytes:
    """A zip of these names and contents, in this order, whatever they are."""
    out = io.BytesIO()
    entries = [write_entry(out, name, io.BytesIO(data), len(data))[0] for name, data in parts]
    out.write(table(entries, out.tell()))
    return out.getvalue()


def parts_of(folder: Path) -> dict[str, bytes]:
    """A bundle's files in an archive's order."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    first = ("manifest.json", "signature.json")
    ordered = [name for name in first if name in names] + sorted(name for name in names if name not in first)
    return {name: (folder / name).read_bytes() for name in ordered}


def forged(manifest: bytes, **change: Any) -> bytes:
    """A manifest with keys replaced (`files` is added to), its own hash made right again."""
    value = json.loads(manifest)
    value |= {**change, "files": {**value["files"], **change.get("files", {})}}
    value["manifest_sha256"] = manifest_digest(value)
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
