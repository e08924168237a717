"""`svfit run` from words with tags to a bundle that finds entities, on a model of a few thousand weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_entities import write_entities
from tiny_task import Finished, svfit

from serve.predictor import Predictor
from serve.verify import verify


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Finished:
    """`svfit run` once for all tests here."""
    folder = tmp_path_factory.mktemp("tagged")
    config = write_entities(folder, base)
    result = svfit("run", config, "--output", folder / "run", "--debug")
    assert result.exit_code == 0, result.stderr
    return Finished(config, folder / "run", result.stdout, result.stderr)


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def test_the_report_says_how_many_entities_were_found_and_that_the_gates_hold(tagged: Finished) -> None:
    report = document(tagged.folder / "report.json")
    assert report["metrics"]["test"]["entity_f1"] >= 0.9
    assert [row["label"] for row in report["metrics"]["test"]["per_class"]] == ["light", "part"]
    assert all(gate["passed"] for gate in report["gates"])


def test_the_bundle_finds_entities_with_their_characters_and_verifies(tagged: Finished) -> None:
    assert verify(tagged.folder / "bundle").passed
    text = "cold noise, hot line (door fan) lamp"
    (answer,) = Predictor(tagged.folder / "bundle").predict([text])
    found = [(one.label, one.text) for one in answer.entities or ()]
    assert found == [("part", "hot line"), ("light", "lamp")]
    assert all(text[one.start : one.end] == one.text and 0.5 < one.score <= 1 for one in answer.entities or ())
