"""What each training of a comparison left on disk, so that an interrupted one goes on where it was."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.compare.cell import TRAINED, Cell
from serve.files import write_json

CELLS = ".cells"
RECORD = "record.json"


@dataclass(frozen=True)
class Ledger:
    """Records by cell in `folder/.cells`, each with the fingerprint of all that decided it.

    A record has `status`: "done" (what `cell.train` gave), "failed" (that rate can't be trained) or "crashed" (which
    says nothing about the rate: it is tried again next time); `reason` for the latter two; `wall_seconds`; and `test`
    once its test rows were read.
    """

    folder: Path

    def place(self, cell: Cell) -> Path:
        return self.folder / CELLS / cell.key

    def read(self, cell: Cell, fingerprint: str) -> dict[str, Any] | None:
        """The record of a cell, or None where there is none of this fingerprint."""
        try:
            record = json.loads((self.place(cell) / RECORD).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        fits = isinstance(record, dict) and record.get("fingerprint") == fingerprint and "status" in record
        return record if fits else None

    def write(self, cell: Cell, fingerprint: str, record: dict[str, Any]) -> None:
        write_json(self.place(cell) / RECORD, record | {"fingerprint": fingerprint})

    def begin(self, cell: Cell) -> Path:
        """An empty folder for the cell's training."""
        place = self.place(cell)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return place

    def holds(self, cell: Cell) -> bool:
        """Whether what the cell learned is still there."""
        return (self.place(cell) / TRAINED).is_file()

    def forget(self, cell: Cell) -> None:
        """Delete what a cell learned; its record stays."""
        (self.place(cell) / TRAINED).unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete every record and everything learned."""
        shutil.rmtree(self.folder / CELLS, ignore_errors=True)
