"""One bundle for several kinds of tasks: rows of a mixed batch are classified, or searched for entities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_entities import write_entities
from tiny_task import svfit, write_task

from serve.runtime import Runtime
from serve.verify import verify

LOOSE = ("--set", "export.swap_budget=9", "--set", "train.checkpoint=false")
WET, PARTS = (
    ("hot line leak door cold", "line cold lamp fan hot"),
    ("cold noise, hot line (door fan) lamp", "leak " * 40),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A folder with two runs; the classifier's is swappable and carries the tagger."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "entities").mkdir()
    parts = write_entities(folder / "entities", base)
    result = svfit("run", parts, "--output", folder / "parts", "--debug")
    assert result.exit_code == 0, result.stderr
    wet = write_task(folder, base)
    carried = ("--set", "export.mode=swappable", "--set", f'export.adapters=["{folder / "parts"}"]')
    result = svfit("run", wet, "--output", folder / "wet", *carried, *LOOSE, "--debug")
    assert result.exit_code == 0, result.stderr
    return folder


def test_a_mixed_batch_is_answered_by_each_rows_own_head(site: Path) -> None:
    with Runtime(site / "wet" / "bundle") as runtime:
        rows = [WET[0], PARTS[0], WET[1], PARTS[1]]
        answers = runtime.predict(rows, adapter=["wet-or-dry", "parts", "wet-or-dry", "parts"])
    assert [answer.label for answer in answers] == ["plumbing", None, "electrical", None]
    assert [answer.entities is None for answer in answers] == [True, False, True, False]
    assert [(one.label, one.text) for one in answers[1].entities or ()] == [("part", "hot line"), ("light", "lamp")]
    assert answers[3].entities == ()  # in windows


def test_what_sharing_costs_is_measured_for_each_in_its_own_metric(site: Path) -> None:
    told = json.loads((site / "wet" / "swap" / "swap.json").read_text())
    assert [(row["name"], row["metric"]) for row in told["tasks"]] == [
        ("wet-or-dry", "accuracy"),
        ("parts", "entity_f1"),
    ]
    assert all(row["served"] >= row["full"] - 0.02 for row in told["tasks"])
    assert [head["kind"] for head in told["files"]["heads"]] == ["row", "token"]


def test_the_bundle_verifies(site: Path) -> None:
    assert verify(site / "wet" / "bundle").passed


def test_a_tagger_is_refused_where_no_head_is_for_tokens(site: Path, tmp_path: Path) -> None:
    alone = ("--set", "export.mode=swappable", *LOOSE)
    assert svfit("run", site / "wet-or-dry.toml", "--output", tmp_path / "alone", *alone).exit_code == 0
    tagger = site / "wet" / "bundle" / "adapters" / "parts"
    state = tmp_path / "state"
    result = svfit("adapter", "add", tmp_path / "alone" / "bundle", tagger, "--name", "parts", "--state", state)
    assert result.exit_code != 0
    assert "no head of this bundle answers token-classification" in result.stderr
