"""What `svfit update` can't use: one clear line, the right code, and nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from tiny_task import Finished, rows, svfit, write_csv
from update_rows import document, door_rows, new_rows

Refused = Callable[..., str]


@pytest.fixture
def adapter(trained: Finished, tmp_path: Path) -> Path:
    """The run's adapter in a folder of its own."""
    return Path(shutil.copytree(trained.folder / "adapter", tmp_path / "lone"))


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Run an update that must be refused with a code, in one line that it gives back, leaving no trace."""

    def call(code: int, *arguments: str | Path) -> str:
        there = sorted(tmp_path.rglob("*"))
        result: Result = svfit("update", *arguments)
        assert result.exit_code == code, result.output
        assert sorted(tmp_path.rglob("*")) == there
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert result.stderr.endswith(f"{line}\n")
        return line

    return call


def test_a_file_without_the_label_column(run: Path, tmp_path: Path, refused: Refused) -> None:
    write_csv(tmp_path / "new.csv", ("text", "kind"), rows(10, 1))
    line = refused(1, run, "--data", tmp_path / "new.csv")
    assert 'no column "label"; there is: text, kind' in line


@pytest.mark.parametrize("task", ["token-classification", "image-classification", "text-embedding"])
def test_a_task_that_updates_do_not_know(adapter: Path, tmp_path: Path, refused: Refused, task: str) -> None:
    card = document(adapter / "adapter.json")
    card["card"]["task"] = task
    (adapter / "adapter.json").write_text(json.dumps(card))
    line = refused(2, adapter, "--data", new_rows(tmp_path, rows(10, 5)))
    assert f"an update goes on with text-classification and text-regression; this is {task}: put the new rows" in line


@pytest.mark.parametrize("text", ["", "text,label\n"])
def test_an_empty_file(run: Path, tmp_path: Path, refused: Refused, text: str) -> None:
    (tmp_path / "new.csv").write_text(text)
    assert "new.csv" in refused(1, run, "--data", tmp_path / "new.csv")


def test_a_file_that_is_not_there(run: Path, tmp_path: Path, refused: Refused) -> None:
    assert "no such file" in refused(1, run, "--data", tmp_path / "june.csv")


def test_a_single_row(run: Path, tmp_path: Path, refused: Refused) -> None:
    line = refused(1, run, "--data", new_rows(tmp_path, rows(1, 5)))
    assert "at least 2" in line


def test_all_rows_of_one_unknown_label_and_nothing_to_tell_it_from(
    adapter: Path, tmp_path: Path, refused: Refused
) -> None:
    line = refused(1, adapter, "--data", new_rows(tmp_path, door_rows(10, "carpentry")))
    assert 'every row to learn has the label "carpentry", which is new' in line
    assert "--replay OLD_ROWS" in line


def test_one_new_label_beside_replayed_rows_is_fine(run: Path, tmp_path: Path) -> None:
    result = svfit("update", run, "--data", new_rows(tmp_path, door_rows(10, "carpentry")), "--epochs", "1", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["labels"]["new"] == ["carpentry"]


def test_labels_none_of_which_is_known(adapter: Path, tmp_path: Path, refused: Refused) -> None:
    table = [*door_rows(8, "a"), *door_rows(8, "b", seed=10)]
    assert "is it the right column?" in refused(1, adapter, "--data", new_rows(tmp_path, table))


def test_new_labels_where_they_are_unwanted(run: Path, tmp_path: Path, refused: Refused) -> None:
    table = [*rows(10, 5), *door_rows(4, "carpentry")]
    line = refused(1, run, "--data", new_rows(tmp_path, table), "--no-new-labels")
    assert 'new.csv:12: the label "carpentry" is unknown to' in line
    assert "electrical, plumbing" in line


def test_rows_that_are_all_measured_on(run: Path, tmp_path: Path, refused: Refused) -> None:
    line = refused(1, run, "--data", new_rows(tmp_path, rows(40, 2)))
    assert "there is nothing new" in line


def test_an_old_validation_file_with_a_strange_label(adapter: Path, tmp_path: Path, refused: Refused) -> None:
    write_csv(tmp_path / "old.csv", ("text", "label"), door_rows(5, "carpentry"))
    line = refused(1, adapter, "--data", new_rows(tmp_path, rows(10, 5)), "--validation", tmp_path / "old.csv")
    assert 'old.csv:2: the label "carpentry"' in line


def test_an_adapter_of_another_model(run: Path, tmp_path: Path, refused: Refused) -> None:
    card = document(run / "adapter" / "adapter.json")
    card["card"]["base"]["sha256"] = "0" * 64
    (run / "adapter" / "adapter.json").write_text(json.dumps(card))
    line = refused(1, run, "--data", new_rows(tmp_path, rows(10, 5)))
    assert "an adapter only fits its own" in line


def test_a_cache_that_is_gone(run: Path, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVFIT_CACHE", str(tmp_path / "nothing"))
    line = refused(1, run, "--data", new_rows(tmp_path, rows(10, 5)))
    assert "no factors for layer" in line
    assert "SVFIT_CACHE" in line


def test_a_folder_that_is_no_adapter(tmp_path: Path, refused: Refused) -> None:
    data = new_rows(tmp_path, rows(10, 5))
    assert "neither an adapter's folder" in refused(2, tmp_path, "--data", data)


def test_a_card_that_lacks_what_training_needs(adapter: Path, tmp_path: Path, refused: Refused) -> None:
    card = document(adapter / "adapter.json")
    del card["card"]["dropout"]
    (adapter / "adapter.json").write_text(json.dumps(card))
    line = refused(1, adapter, "--data", new_rows(tmp_path, rows(10, 5)))
    assert "its card lacks dropout" in line


def test_a_run_whose_rows_are_gone(run: Path, tmp_path: Path, refused: Refused) -> None:
    kept = document(run / "config.json")
    kept["config"]["data"]["train"] = str(tmp_path / "gone.csv")
    (run / "config.json").write_text(json.dumps(kept))
    line = refused(1, run, "--data", new_rows(tmp_path, rows(10, 5)))
    assert "gone.csv: no such file" in line
    assert "--validation OLD_ROWS" in line


def test_a_folder_that_holds_something(run: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "tickets-v2").mkdir()
    (tmp_path / "tickets-v2" / "notes").write_text("mine")
    line = refused(2, run, "--data", new_rows(tmp_path, rows(10, 5)))
    assert "exists already" in line


def test_a_limit_on_forgetting_without_old_rows(adapter: Path, tmp_path: Path, refused: Refused) -> None:
    line = refused(2, adapter, "--data", new_rows(tmp_path, rows(10, 5)), "--max-forget", "1")
    assert "--validation FILE" in line


@pytest.mark.parametrize("share", ["-1", "inf", "nan"])
def test_a_share_that_is_none(run: Path, tmp_path: Path, refused: Refused, share: str) -> None:
    assert "a share is 0 or more" in refused(2, run, "--data", new_rows(tmp_path, rows(10, 5)), f"--replay={share}")


def test_a_share_of_nothing(adapter: Path, tmp_path: Path, refused: Refused) -> None:
    line = refused(2, adapter, "--data", new_rows(tmp_path, rows(10, 5)), "--replay", "1")
    assert "name a file of old rows" in line


def test_a_pair_for_single_texts(run: Path, tmp_path: Path, refused: Refused) -> None:
    data = new_rows(tmp_path, rows(10, 5))
    line = refused(2, run, "--data", data, "--text", "a", "--text", "b")
    assert "name one column" in line
