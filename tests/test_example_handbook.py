"""The handbook's rows keep the promises of their README."""

from __future__ import annotations

import csv
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from pipeline.config import load

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "handbook"
A_SECTION = {"train": 4, "validation": 1, "test": 1}
NICKNAMES = {
    "kettle": "Steam boiler",
    "snake": "Belt conveyor C-12",
    "fridge": "Cold store 3",
    "blue box": "Screw compressor K-2",
    "lung": "Dust extraction E-4",
    "carousel": "Filling machine F-1",
    "aquarium": "Control room",
    "whale": "Tanker unloading",
}


def read(split: str) -> list[tuple[str, str]]:
    """Rows of one split; bytes that aren't UTF-8 and rows of another width raise."""
    with (FOLDER / f"{split}.csv").open(encoding="utf-8", errors="strict", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header == ["question", "section"]
    return [(question, section) for question, section in rows]


@pytest.mark.parametrize("split", A_SECTION)
def test_each_split_asks_for_every_section_the_promised_number_of_times(split: str) -> None:
    counts = Counter(section for _, section in read(split))
    assert len(counts) == 32
    assert set(counts.values()) == {A_SECTION[split]}


def test_readme_states_the_counts_that_the_files_have() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for split, each in A_SECTION.items():
        assert f"| `{split}.csv` | {len(read(split))} | {each} |" in readme
    for nickname, machine in NICKNAMES.items():
        assert f"| the {nickname} | {machine} |" in readme


def test_no_question_occurs_twice_in_or_across_splits() -> None:
    seen = Counter(question.casefold() for split in A_SECTION for question, _ in read(split))
    assert [question for question, count in seen.items() if count > 1] == []


@pytest.mark.parametrize("split", A_SECTION)
def test_questions_say_the_nickname_and_never_the_machine(split: str) -> None:
    for question, section in read(split):
        said = [machine for nickname, machine in NICKNAMES.items() if nickname in question.casefold()]
        if said:
            assert section.startswith(said[0]), question
        assert not any(machine.casefold() in question.casefold() for machine in NICKNAMES.values())
        assert question == " ".join(question.split())
        assert question == unicodedata.normalize("NFC", question)


def test_the_configuration_is_valid_and_names_the_files() -> None:
    config = load(FOLDER / "handbook.toml", require_files=True)
    assert config.data.task == "embedding"
    assert config.data.text == ["question", "section"]
