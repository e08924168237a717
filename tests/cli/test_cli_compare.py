"""`svfit compare` from the command line, its trainings in processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compare_sample import comparison
from tiny_task import svfit, write_task


@pytest.fixture
def toml(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = write_task(tmp_path, base)
    path.write_text(path.read_text().replace("epochs = 12", 'epochs = 1\ndevice = "cpu"'))
    return path


def test_a_comparison_prints_a_table_then_the_same_as_json_without_training_again(toml: Path) -> None:
    given = ("compare", toml, "--methods", "lora:1,head", "--seeds", "1", "--rates", "1")
    first = svfit(*given, "--price", "2", "--currency", "EUR", "--report", "page.html")
    assert first.exit_code == 0, first.output
    folder = Path("runs/wet-or-dry-compare")
    for part in ("lora:1 (LoRA r=1)", "1/8", "validation accuracy", "test accuracy", "cost EUR", "Use ", "report  "):
        assert part in first.stdout
    lines = first.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["lora", "head, rate 0.05, seed 0"]
    assert lines[0].startswith("lora:1, rate 0.001, seed 0: accuracy 0.")
    assert Path("page.html").read_text() == (folder / "report.html").read_text()

    second = svfit(*given, "--json", "--quiet")
    assert (second.exit_code, second.stderr) == (0, "")
    document = json.loads(second.stdout)
    assert document == json.loads((folder / "report.json").read_text())
    assert [one["method"] for one in document["methods"]] == ["lora:1", "head"]
    assert (document["price"], document["methods"][0]["cost"]) == (None, None)
    kept = svfit(*given)
    assert kept.stderr.count("(done before, kept)") == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--methods", "svfti"], "--methods: no method 'svfti'; available: svfit, banded"),
        (["--methods", "head,head"], "--methods: 'head' is named twice"),
        (["--methods", ","], "--methods: names no method"),
        (["--seeds", "0"], "--seeds"),
        (["--rates", "0"], "--rates"),
        (["--price", "-1"], "--price: must be a number of at least 0 (got -1)"),
        (["--price", "nan"], "--price: must be a number of at least 0 (got nan)"),
        (["--currency", "EUR"], "--currency: of which price?"),
        (["--price", "1", "--currency", "a\nb"], "--currency: use a word or a sign"),
        (["--report", "train.csv/page.html"], "--report: train.csv/page.html can't be written: "),
        (["--set", "train.epochs=0"], "--set train.epochs"),
        (["--set", "data.train=nowhere.csv"], "nowhere.csv"),
    ],
)
def test_bad_input_ends_with_2_before_anything_is_written(toml: Path, options: list[str], said: str) -> None:
    result = svfit("compare", toml, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert not Path("runs").exists()


def test_a_comparison_in_which_nothing_could_be_trained_ends_with_1(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = comparison()
    document["recommendation"]["method"] = None
    monkeypatch.setattr("pipeline.compare.run.compare", lambda *_, **__: document)
    result = svfit("compare", toml, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["recommendation"]["method"] is None
    assert (
        result.stderr == "Error: no method could be trained; the reasons are in runs/wet-or-dry-compare/report.html\n"
    )
