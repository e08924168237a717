"""Rows that a tiny model can learn, and the command to run on them."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from pipeline.cli import main

WET, DRY = ("leak", "valve", "pump"), ("lamp", "dark", "bright")
PLAIN = ("fan", "noise", "hot", "cold", "line", "door")


@dataclass(frozen=True)
class Finished:
    """A run that went through: its configuration, its folder, and what the command printed."""

    config: Path
    folder: Path
    stdout: str
    stderr: str


def rows(count: int, seed: int) -> list[tuple[str, str]]:
    """Texts of five words; the one telling word decides the class."""
    rng = random.Random(seed)  # noqa: S311 (rows, not secrets)
    made = []
    for number in range(count):
        label, telling = (("plumbing", WET), ("electrical", DRY))[number % 2]
        words = [*rng.choices(PLAIN, k=4), rng.choice(telling)]
        rng.shuffle(words)
        made.append((" ".join(words), label))
    return made


def write_csv(path: Path, header: Sequence[str], table: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(table)


def write_task(folder: Path, base: Path) -> Path:
    """A configuration with train and test rows beside it; the validation split is carved."""
    write_csv(folder / "train.csv", ("text", "label"), rows(200, 1))
    write_csv(folder / "test.csv", ("text", "label"), rows(40, 2))
    path = folder / "wet-or-dry.toml"
    path.write_text(
        f'[model]\nbase = "{base}"\nmax_length = 16\n'
        '[data]\ntrain = "train.csv"\ntest = "test.csv"\nvalidation_share = 0.2\n'
        "[train]\nepochs = 12\nbatch_size = 16\nlearning_rate = 0.05\nhead_learning_rate = 0.05\n"
    )
    return path


def svfit(*arguments: str | Path) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])
