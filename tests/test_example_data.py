"""The example data set keeps its promises: labels, counts, distinct texts, nothing private."""

from __future__ import annotations

import csv
import re
import tomllib
import unicodedata
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "tickets"
LABELS = {
    "electrical",
    "facilities",
    "hvac",
    "instrumentation",
    "it_support",
    "mechanical",
    "plumbing",
    "safety",
}
ROWS_A_LABEL = {"train": 40, "validation": 8, "test": 12}
WORDS = (4, 45)
MAX_SIMILARITY = 0.6
E_MAIL = re.compile(r"\S@\S")
PHONE = re.compile(r"\+?\d[\d ()./-]{6,}\d")
LINK = re.compile(r"https?:|www\.", re.IGNORECASE)


def read(split: str) -> list[tuple[str, str]]:
    """Rows of one split as (text, label); bytes that aren't UTF-8 and rows of another width raise."""
    with (FOLDER / f"{split}.csv").open(encoding="utf-8", errors="strict", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header == ["text", "label"]
    return [(text, label) for text, label in rows]


def words(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return re.findall(r"\w+", text.casefold())


def similarity(a: set[str], b: set[str]) -> float:
    """Jaccard similarity of two word sets, 0 to 1."""
    return len(a & b) / len(a | b)


@pytest.mark.parametrize("split", ROWS_A_LABEL)
def test_each_split_has_every_label_the_promised_number_of_times(split: str) -> None:
    counts = Counter(label for _, label in read(split))
    assert counts == dict.fromkeys(LABELS, ROWS_A_LABEL[split])


def test_readme_states_the_counts_that_the_files_have() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for split in ROWS_A_LABEL:
        rows = read(split)
        assert f"| `{split}.csv` | {len(rows)} | {len(rows) // len(LABELS)} |" in readme
    for label in LABELS:
        assert f"| `{label}` |" in readme


def test_no_text_occurs_twice_in_or_across_splits() -> None:
    seen = Counter(" ".join(words(text)) for split in ROWS_A_LABEL for text, _ in read(split))
    assert [text for text, count in seen.items() if count > 1] == []


def test_no_two_texts_share_most_of_their_words() -> None:
    texts = [(text, set(words(text))) for split in ROWS_A_LABEL for text, _ in read(split)]
    near = [(a, b) for (a, x), (b, y) in combinations(texts, 2) if similarity(x, y) >= MAX_SIMILARITY]
    assert near == []


@pytest.mark.parametrize("split", ROWS_A_LABEL)
def test_texts_are_clean_and_of_sensible_length(split: str) -> None:
    low, high = WORDS
    for text, _ in read(split):
        assert low <= len(text.split()) <= high, text
        assert text == " ".join(text.split()), f"stray white space: {text!r}"
        assert text == unicodedata.normalize("NFC", text), f"not composed: {text!r}"
        assert not any(unicodedata.category(c) in {"Cc", "Cf", "Co", "Cn"} for c in text), repr(text)
        assert "\ufffd" not in text, f"broken encoding: {text!r}"


@pytest.mark.parametrize("split", ROWS_A_LABEL)
def test_texts_carry_no_addresses_or_phone_numbers(split: str) -> None:
    hits = [text for text, _ in read(split) if E_MAIL.search(text) or PHONE.search(text) or LINK.search(text)]
    assert hits == []


@pytest.mark.parametrize("private", ["ask bob@plant.example", "ring 0171 555 0199", "see www.plant.example"])
def test_private_patterns_are_recognised(private: str) -> None:
    assert E_MAIL.search(private) or PHONE.search(private) or LINK.search(private)


def test_configuration_names_the_three_files_and_their_columns() -> None:
    config = tomllib.loads((FOLDER / "tickets.toml").read_text(encoding="utf-8"))
    data = config["data"]
    assert {split: data[split] for split in ROWS_A_LABEL} == {s: f"{s}.csv" for s in ROWS_A_LABEL}
    assert (data["text"], data["label"]) == ("text", "label")
