"""`svfit update` of a run: a new run's folder, from which the other stages go on to a bundle that answers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tiny_task import PLAIN, rows, svfit, write_csv

from serve.predictor import Predictor
from serve.verify import verify

SMALL = ("--quiet", "--json")


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def door_rows(count: int, label: str, seed: int = 9) -> list[tuple[str, str]]:
    """Rows of a third class: none of the words that tell the other two, and `door` twice."""
    rng = random.Random(seed)  # noqa: S311 (rows, not secrets)
    made = []
    for _ in range(count):
        words = [*rng.choices([word for word in PLAIN if word != "door"], k=3), "door", "door"]
        rng.shuffle(words)
        made.append((" ".join(words), label))
    return made


def new_rows(folder: Path, table: list[tuple[str, str]]) -> Path:
    path = folder / "new.csv"
    write_csv(path, ("text", "label"), table)
    return path


def test_an_updated_run_goes_on_to_a_bundle_that_answers(run: Path, tmp_path: Path) -> None:
    data = new_rows(tmp_path, rows(60, 5))
    result = svfit("update", run, "--data", data, "--json", "--debug")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    after = tmp_path / "tickets-v2"
    assert (told["run"], told["config"]) == (str(after), str(after / "tickets-v2.toml"))
    assert told["metrics"]["old"]["rows"] == 40
    assert told["metrics"]["new"]["after"]["accuracy"] > 0.9
    assert told["rows"]["learned"] + told["rows"]["held_out"] + told["rows"]["known_already"] == 60
    went_on = svfit("run", after / "tickets-v2.toml", "--output", after, "--debug")
    assert went_on.exit_code == 0, went_on.stderr
    assert "finetune: done before, kept" in went_on.stderr
    assert verify(after / "bundle").passed
    answers = Predictor(after / "bundle").predict(["hot line leak door cold", "line cold lamp fan hot"])
    assert [answer.label for answer in answers] == ["plumbing", "electrical"]
