"""`svfit update` of a run: a new run's folder, from which the other stages go on to a bundle that answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_task import rows, svfit, write_csv
from update_rows import document, door_rows, new_rows

from export.adapter import Adapter
from serve.files import sha256_file
from serve.predictor import Predictor
from serve.verify import verify


def updated(run: Path, data: Path, *more: str | Path) -> dict[str, Any]:
    result = svfit("update", run, "--data", data, "--json", "--debug", *more)
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def grown(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The run's second version, which learned a label that sorts before the others; and what the command told."""
    folder = tmp_path_factory.mktemp("grown")
    run = Path(shutil.copytree(trained.folder, folder / "tickets"))
    data = new_rows(folder, [*rows(40, 5), *door_rows(30, "carpentry")])
    rates = ("--learning-rate", "0.05", "--head-learning-rate", "0.05", "--epochs", "12")
    return folder / "tickets-v2", updated(run, data, *rates)


def test_an_updated_run_goes_on_to_a_bundle_that_answers_the_new_label_too(grown: tuple[Path, dict[str, Any]]) -> None:
    after, told = grown
    assert (told["run"], told["config"]) == (str(after), str(after / "tickets-v2.toml"))
    went_on = svfit("run", after / "tickets-v2.toml", "--output", after, "--debug")
    assert went_on.exit_code == 0, went_on.stderr
    assert "finetune: done before, kept" in went_on.stderr
    assert verify(after / "bundle").passed
    texts = ["hot line leak door cold", "line cold lamp fan hot", "door door cold fan hot"]
    answers = Predictor(after / "bundle").predict(texts)
    assert [answer.label for answer in answers] == ["plumbing", "electrical", "carpentry"]
    report = document(after / "report.json")
    assert report["labels"] == ["carpentry", "electrical", "plumbing"]
    validation = {row["name"]: row["metrics"]["validation"] for row in report["variants"]}["fp32"]
    card = document(after / "adapter" / "adapter.json")["card"]
    assert validation["accuracy"] == pytest.approx(card["metrics"]["validation"]["accuracy"])
    assert {sample["truth"] for sample in report["samples"]} <= {"electrical", "plumbing"}  # the test rows' own


def test_the_new_version_measures_old_and_new_rows_and_says_what_it_grew(grown: tuple[Path, dict[str, Any]]) -> None:
    _, told = grown
    assert told["labels"] == {"count": 3, "new": ["carpentry"]}
    assert told["metrics"]["old"]["rows"] == 40
    assert told["metrics"]["old"]["after"]["accuracy"] >= 0.9
    assert told["metrics"]["new"]["before"]["accuracy"] < 0.8 < told["metrics"]["new"]["after"]["accuracy"]
    counted = told["rows"]
    assert counted["learned"] + counted["held_out"] + counted["known_already"] == 70
    assert counted["replayed"] == counted["learned"]
    assert told["refused"] is None


def test_the_card_names_its_parent_and_its_size(grown: tuple[Path, dict[str, Any]]) -> None:
    after, told = grown
    before = after.parent / "tickets" / "adapter"
    card = document(after / "adapter" / "adapter.json")["card"]
    hashes = {name: sha256_file(before / name) for name in ("adapter.json", "adapter.safetensors")}
    assert card["updated_from"] == [{"version": 1, "files": hashes}]
    assert card["trained"]["head"] == 3 * 32 + 3
    assert card["labels"] == ["carpentry", "electrical", "plumbing"]
    assert document(after / "adapter" / "update.json")["parent"]["files"] == hashes
    assert Adapter.load(after / "adapter").basis.id == Adapter.load(before).basis.id == told["basis_id"]


def test_a_third_version_goes_on_from_the_second(grown: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    second, _ = grown
    third = tmp_path / "third"
    told = updated(second, new_rows(tmp_path, rows(20, 8)), "--epochs", "1", "--out", third)
    assert told["version"] == 3
    chain = document(third / "adapter" / "adapter.json")["card"]["updated_from"]
    assert [entry["version"] for entry in chain] == [1, 2]
    assert chain[1]["files"]["adapter.safetensors"] == sha256_file(second / "adapter" / "adapter.safetensors")
    assert told["labels"] == {"count": 3, "new": []}
    assert (third / "third.toml").is_file()


def test_the_same_update_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    data = new_rows(tmp_path, rows(20, 8))
    for name in ("one", "two"):
        updated(run, data, "--epochs", "1", "--out", tmp_path / name)
    one, two = ((tmp_path / name / "adapter" / "adapter.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_new_rows_that_are_measured_on_are_not_learned(run: Path, tmp_path: Path) -> None:
    table = [*rows(40, 2), *rows(20, 8)]  # the first forty are the run's test rows
    result = svfit("update", run, "--data", new_rows(tmp_path, table), "--epochs", "1", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["rows"]["known_already"] >= 40
    assert "left out" in result.stderr
    written = {
        name: [
            json.loads(line) for line in (tmp_path / "tickets-v2" / "data" / f"{name}.jsonl").read_text().splitlines()
        ]
        for name in ("train", "test")
    }
    added = {row["text"] for row in written["train"][160:]}  # after the rows that the run trained on
    assert added
    assert not added & {row["text"] for row in written["test"]}


def test_forgetting_beyond_the_limit_ends_with_4_and_writes_nothing(run: Path, tmp_path: Path) -> None:
    swapped = {"plumbing": "electrical", "electrical": "plumbing"}
    data = new_rows(tmp_path, [(text, swapped[label]) for text, label in rows(60, 5)])
    harsh = ("--replay", "0", "--learning-rate", "0.1", "--head-learning-rate", "0.1", "--epochs", "8")
    there = sorted(tmp_path.iterdir())
    result = svfit("update", run, "--data", data, "--max-forget", "5", *harsh, "--json")
    assert result.exit_code == 4
    told = json.loads(result.stdout)
    assert told["forgotten"] > 5
    assert told["most_forgotten"][0]["right_after"] < told["most_forgotten"][0]["right_before"]
    assert "--max-forget allows 5. Nothing was written" in result.stderr
    assert sorted(tmp_path.iterdir()) == there
    allowed = svfit("update", run, "--data", data, *harsh)
    assert allowed.exit_code == 0
    assert "! it forgot" in allowed.stderr
    assert "forgot   " in allowed.stdout
    assert (tmp_path / "tickets-v2" / "adapter" / "adapter.json").is_file()


def test_an_interrupted_update_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pipeline.update.write

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    data = new_rows(tmp_path, rows(20, 8))
    there = sorted(tmp_path.iterdir())
    monkeypatch.setattr(pipeline.update.write, "write_config", stop)  # when most of the folder is written
    result = svfit("update", run, "--data", data, "--epochs", "1")
    assert (result.exit_code, result.stdout) == (130, "")
    assert sorted(tmp_path.iterdir()) == there


def test_the_terminal_shows_both_measures_and_what_to_do_next(run: Path, tmp_path: Path) -> None:
    result = svfit("update", run, "--data", new_rows(tmp_path, rows(20, 8)), "--epochs", "1")
    assert result.exit_code == 0, result.stderr
    for part in ("old validation", "new, held out", "before", "after", "version 2"):
        assert part in result.stdout
    after = tmp_path / "tickets-v2"
    assert f"next     svfit run {after / 'tickets-v2.toml'} --output {after}" in result.stdout
    quiet = svfit("update", run, "--data", tmp_path / "new.csv", "--epochs", "1", "--quiet", "--out", tmp_path / "q")
    assert (quiet.exit_code, quiet.stderr) == (0, "")


def test_numbers_go_on_in_their_own_unit(tmp_path: Path, base: Path) -> None:
    def costs(count: int, seed: int) -> list[tuple[str, str, float]]:
        pairs = zip(rows(count, seed), rows(count, seed + 50), strict=True)
        return [
            (first, second, 1000 + 300 * (kind == "plumbing") + place / 100)
            for place, ((first, kind), (second, _)) in enumerate(pairs)
        ]

    write_csv(tmp_path / "train.csv", ("first", "second", "cost"), costs(160, 3))
    config = tmp_path / "cost.toml"
    config.write_text(
        f'[model]\nbase = "{base}"\nmax_length = 32\n'
        '[data]\ntrain = "train.csv"\ntext = ["first", "second"]\nlabel = "cost"\n'
        "[train]\nepochs = 10\nbatch_size = 16\nlearning_rate = 0.05\nhead_learning_rate = 0.05\n"
    )
    assert svfit("finetune", config, "--output", tmp_path / "cost").exit_code == 0
    write_csv(tmp_path / "more.csv", ("first", "second", "cost"), costs(40, 7))
    told = updated(tmp_path / "cost", tmp_path / "more.csv")
    old = told["metrics"]["old"]
    assert told["metric"] == "pearson"
    assert old["before"]["mae"] < 120
    assert old["after"]["mae"] < 120  # hundreds of thousands off, were the scale taken wrongly
    merged = svfit("merge", tmp_path / "cost-v2" / "cost-v2.toml", "--output", tmp_path / "cost-v2", "--debug")
    assert merged.exit_code == 0, merged.stderr
    assert "another configuration" not in merged.stderr
