"""Entities from files of every kind and from datasets, split and checked."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.dataset import Dataset, Split
from pipeline.data.entities import load_entities
from pipeline.data.spans import Span
from pipeline.data.tagged import read_tagged_file
from serve.errors import InputError, UsageError

CONLL = "The\tO\nred\tB-part\npump\tI-part\nleaks\tO\n\nBerlin\tB-place\n"


def write(folder: Path, text: str, name: str = "train.tsv") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def rows_of(split: Split) -> list[tuple[str, list[tuple[int, int, str]]]]:
    return [(text, [tuple(span) for span in spans]) for (text,), spans in zip(split.texts, split.labels, strict=True)]  # type: ignore[union-attr]


def table(path: Path, **more: Any) -> list[tuple[str, list[tuple[int, int, str]]]]:
    found = read_tagged_file(path, **more)
    return [(text, [tuple(span) for span in spans]) for text, spans in zip(found.texts, found.spans, strict=True)]


WANTED = [("The red pump leaks", [(4, 12, "part")]), ("Berlin", [(0, 6, "place")])]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", CONLL),
        ("a.conll", CONLL),
        ("a.iob", CONLL.replace("\n", "\r\n")),
        ("a.txt", "\ufeff" + CONLL),
        ("a.bio", "-DOCSTART-\tO\n\n" + CONLL + "\n\n"),
        ("a.BIO", "-DOCSTART- -X- O O\n" + CONLL.replace("\t", " NN NP ") + "\n-DOCSTART- O\n"),
        ("a.conll", "# id 7 domain=en\n" + CONLL.replace("\t", " _ _ ").replace("\n\n", "\n\n# id 8\n")),
        ("a.conll", CONLL.replace("\n\n", "\n   \n\t\n")),
        ("a.conll", CONLL.replace("B-", "I-")),
        ("a.conll", CONLL.replace("I-part", "E-part").replace("B-place", "S-place")),
    ],
)
def test_a_word_and_its_tag_in_each_line(tmp_path: Path, name: str, text: str) -> None:
    assert table(write(tmp_path, text, name)) == WANTED


def test_a_hash_may_be_a_word_and_a_word_may_hold_a_space(tmp_path: Path) -> None:
    assert table(write(tmp_path, "#\tO\n# 1\tB-no\n")) == [("# # 1", [(2, 5, "no")])]
    assert table(write(tmp_path, "# O\nx B-no\n", "a.txt")) == [("# x", [(2, 3, "no")])]
    assert table(write(tmp_path, "New York\tB-place\nis\tO\n")) == [("New York is", [(0, 8, "place")])]


def test_a_packed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.conll.gz"
    path.write_bytes(gzip.compress(CONLL.encode()))
    assert table(path) == WANTED


@pytest.mark.parametrize(
    "row",
    [
        {"text": WANTED[0][0], "spans": [{"start": 4, "end": 12, "label": "part"}]},
        {"id": 1, "entities": [[4, 12, "part"]], "text": WANTED[0][0]},
        {"text": WANTED[0][0], "label": [[4, 12, "part"]]},
        {"tokens": WANTED[0][0].split(), "ner_tags": ["O", "B-part", "I-part", "O"]},
        {"words": WANTED[0][0].split(), "tags": ["O", "I-part", "I-part", "O"]},
    ],
)
def test_json_lines_in_the_forms_that_tools_write(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write(tmp_path, "\n" + json.dumps(row) + "\n", "a.jsonl")
    assert table(path) == WANTED[:1]
    assert read_tagged_file(path).at(0) == f"{path}:2"


def test_columns_may_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"text": "no", "body": "a b", "marks": [[2, 3, "x"]]}), "a.jsonl")
    assert table(path, text="body", label="marks") == [("a b", [(2, 3, "x")])]
    with pytest.raises(InputError, match=r"a\.jsonl: none of the columns text, body, marks is spans, .*data\.label"):
        table(path)
    with pytest.raises(InputError, match=r'a\.jsonl: no column "bdy"; there is: text, body, marks. Did you mean'):
        table(path, text="bdy", label="marks")


def test_offsets_count_code_points(tmp_path: Path) -> None:
    row = {"text": "👍 Zürich", "spans": [[2, 8, "place"]]}
    found = read_tagged_file(write(tmp_path, json.dumps(row), "a.jsonl"))
    assert found.texts[0][slice(*found.spans[0][0][:2])] == "Zürich"


def test_parquet_is_read(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    words, tags = [["The", "red"], ["Berlin"]], [["O", "B-part"], ["B-place"]]
    parquet.write_table(arrow.table({"tokens": words, "ner_tags": tags}), tmp_path / "a.parquet")
    found = read_tagged_file(tmp_path / "a.parquet")
    assert (found.texts, found.at(1)) == (["The red", "Berlin"], f"{tmp_path}/a.parquet, row 2")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(InputError, match=r"b\.parquet: can't be read as Parquet"):
        read_tagged_file(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "", "a.tsv: the file is empty"),
        ("a.tsv", "\n\n-DOCSTART- O\n", "a.tsv: the file is empty"),
        ("a.tsv", "a\tO\nb\n", r'a.tsv:2: "b" has no tag'),
        ("a.tsv", "a\tO\nb\t\n", 'a.tsv:2: "b.t" has no tag'),
        ("a.tsv", "a\tO\n\tO\n", 'a.tsv:2: the tag "O" has no word before it'),
        ("a.tsv", "a\tB-x\n\nb\tI-x\nc\tB-x\n", r"a.tsv:3: I-x continues nothing \(before it is O\)"),
        ("a.tsv", "word\ttag\n", r'a.tsv:1: the tag "tag" is neither O'),
        ("a.tsv", "a\tO\n\u200b\tB-x\n", "a.tsv:1: the span 2 to 3 .* holds no word"),
        ("a.jsonl", "", r"a.jsonl: the file is empty"),
        ("a.jsonl", "{", r"a.jsonl:1: malformed JSON"),
        ("a.jsonl", "[]", r"a.jsonl:1: .* is no object"),
        ("a.jsonl", '{"text": "a", "spans": []}\n{"text": "b"}', r'a.jsonl:2: no column "spans"'),
        (
            "a.jsonl",
            '{"text": "a", "spans": []}\n{"text": null, "spans": []}',
            r'a.jsonl:2: "text" is no text but None',
        ),
        ("a.jsonl", '{"text": "a", "spans": [[0, 2, "x"]]}', r"a.jsonl:1: the span 0 to 2 \(x\) lies outside"),
        ("a.jsonl", '{"text": "a", "spans": [[0, 1, "x"], [0, 1, "y"]]}', r"a.jsonl:1: the spans .* share the word"),
        ("a.jsonl", '{"text": "\\ud800", "spans": []}', r"a.jsonl:1: half of a surrogate pair"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O", "O"]}', r"a.jsonl:1: 1 words and 2 tags"),
        ("a.jsonl", '{"tokens": ["a", ""], "tags": ["O", "O"]}', r"a.jsonl:1: word 2 is empty"),
        (
            "a.jsonl",
            '{"tokens": ["a"], "tags": [0]}',
            r'a.jsonl:1: "tags" holds numbers, whose tags nothing here names',
        ),
        (
            "a.jsonl",
            '{"tokens": ["x"], "tags": ["B-a"]}\n{"tokens": ["x", "y"], "tags": ["O", "I-a"]}',
            r'a.jsonl:2: word 2 \("y"\): I-a continues nothing',
        ),
        ("a.jsonl", '{"tokens": "x", "tags": ["B-a"]}', r'a.jsonl:1: span 1: "B-a" is neither'),
    ],
)
def test_what_is_wrong_is_told_by_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_tagged_file(write(tmp_path, text, name))


def test_other_formats_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, CONLL, "a.csv")
    with pytest.raises(UsageError, match=r'the extension ".csv" says no format that entities are read from'):
        read_tagged_file(tmp_path / "a.csv")
    with pytest.raises(UsageError, match=r'data.format: "csv" holds no entities; there is: auto, conll, jsonl'):
        read_tagged_file(tmp_path / "a.csv", file_format="csv")
    assert table(tmp_path / "a.csv", file_format="conll") == WANTED
    assert table(tmp_path / "a.csv", file_format="tsv") == WANTED
    with pytest.raises(InputError, match=r"b\.conll: no such file; in .* there is: none"):
        read_tagged_file(tmp_path / "b.conll")


def load(folder: Path, **more: Any) -> Dataset:
    return load_entities(train=folder / "train.tsv", **more)


def test_splits_are_read_and_labels_are_the_tags_of_train(tmp_path: Path) -> None:
    write(tmp_path, CONLL)
    write(tmp_path, "Rome\tB-place\n", "dev.tsv")
    write(tmp_path, "None\tO\n", "test.tsv")
    found = load(tmp_path, validation=tmp_path / "dev.tsv", test=tmp_path / "test.tsv")
    assert found.task == "token-classification"
    assert found.labels == ("O", "B-part", "I-part", "B-place", "I-place")
    assert [rows_of(split) for split in found.splits()] == [WANTED, [("Rome", [(0, 4, "place")])], [("None", [])]]
    assert found.train.lines == [1, 6] and found.train.source == str(tmp_path / "train.tsv")
    assert isinstance(found.train.labels[0][0], Span)  # type: ignore[index]


def test_a_kind_that_train_does_not_have_is_refused_by_line(tmp_path: Path) -> None:
    write(tmp_path, CONLL)
    write(tmp_path, "a\tO\n\nb\tB-plaice\n", "dev.tsv")
    with pytest.raises(InputError, match=r'dev.tsv:3: the kind "plaice" doesn\'t occur in .*train.tsv.*Did you mean'):
        load(tmp_path, validation=tmp_path / "dev.tsv")


def test_data_without_an_entity_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a\tO\n")
    with pytest.raises(InputError, match=r"train.tsv: no entity in any row; there is nothing to learn"):
        load(tmp_path)


def test_a_carved_split_has_its_share_of_rare_kinds_and_is_the_same_each_time(tmp_path: Path) -> None:
    common = "".join(f"w{place}\tB-often\nx\tO\n\n" for place in range(80))
    rare = "".join(f"w{place}\tB-often\nz\tB-seldom\n\n" for place in range(20))
    write(tmp_path, common + rare)
    first, second = load(tmp_path), load(tmp_path)
    assert first == second
    assert len(first.train.texts) == 90 and len(first.validation.texts) == 10
    assert sum(span.label == "seldom" for spans in first.validation.labels for span in spans) == 2  # type: ignore[union-attr]
    assert first.validation.source.endswith("train.tsv (from train)")
    assert load(tmp_path, seed=1).validation.texts != first.validation.texts


def test_a_dataset_needs_train_or_a_name() -> None:
    with pytest.raises(UsageError, match=r"data\.train: a file with the training rows is needed"):
        load_entities(train=None)
    with pytest.raises(UsageError, match=r"data\.dataset_config: .* is given without data.dataset"):
        load_entities(train="x", dataset_config="y")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of words and `ClassLabel` tags, as the hub has them, in a local folder."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "ner"
    folder.mkdir()
    tags = datasets.ClassLabel(names=["O", "B-part", "I-part", "B-place", "I-place"])
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(tags)})
    rows = {"tokens": [["The", "red", "pump", "leaks"], ["Berlin"]], "ner_tags": [[0, 1, 2, 0], [3]]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    return folder


def test_a_dataset_s_tags_become_their_names(hub: Path) -> None:
    found = load_entities(train=None, validation="train", dataset=str(hub))
    assert rows_of(found.train) == WANTED
    assert found.train.source == f"{hub}#train" and found.train.lines == [1, 2]
    assert found.train.sha256 == found.validation.sha256 and len(found.train.sha256) == 64


@pytest.mark.real
@pytest.mark.parametrize(("name", "kinds", "entities"), [("wnut17", 6, 1975), ("ncbi_disease", 1, 5145)])
def test_the_real_sets_are_read_whole(name: str, kinds: int, entities: int) -> None:
    folder = Path(__file__).parents[3] / "shared" / "data" / "ner" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} isn't here")
    found = load_entities(train=folder / "train.tsv", validation=folder / "dev.tsv", test=folder / "test.tsv")
    assert len(found.labels) == 1 + 2 * kinds
    assert sum(len(spans) for spans in found.train.labels) == entities  # type: ignore[arg-type]
