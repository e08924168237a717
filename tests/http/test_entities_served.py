"""A tagger behind the server's doors and on the command line: entities with their characters, long texts, batches."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from http_desk import Desk
from tiny_tagger import make_tagger

from pipeline.cli import main
from serve.predictor import Predictor
from serve.runtime import Runtime
from serve.verify import verify

TEXT = "the pump line is leaking, again: fan"
WANTED = [("part", 4, 13, "pump line"), ("state", 17, 24, "leaking"), ("part", 33, 36, "fan")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tagger(tmp_path_factory.mktemp("tagger") / "bundle")


@pytest.fixture(scope="module")
def desk(folder: Path) -> Iterator[Desk]:
    desk = Desk(folder)
    yield desk
    desk.close()


def told(entities: list[dict[str, Any]]) -> list[tuple[str, int, int, str]]:
    return [(one["label"], one["start"], one["end"], one["text"]) for one in entities]


def test_the_bundle_verifies_and_the_library_finds_entities(folder: Path) -> None:
    assert verify(folder).passed
    (answer,) = Predictor(folder).predict([TEXT])
    found = answer.entities or ()
    assert [(one.label, one.start, one.end, one.text) for one in found] == WANTED
    assert (answer.task, answer.label, answer.value) == ("token-classification", None, None)


def test_predict_tells_entities_and_nothing_else(desk: Desk) -> None:
    results = desk.client.post("/v1/predict", json={"text": [TEXT, "", "again"]}).json()["results"]
    assert [result.keys() for result in results] == [{"adapter", "entities"}] * 3
    assert told(results[0]["entities"]) == WANTED
    assert all(0.9 < one["score"] < 1 for one in results[0]["entities"])
    assert [result["entities"] for result in results[1:]] == [[], []]


def test_offsets_count_code_points_over_http_too(desk: Desk) -> None:
    text = "\N{GRINNING FACE} fan"
    (result,) = desk.client.post("/v1/predict", json={"text": text}).json()["results"]
    assert told(result["entities"]) == [("part", 2, 5, "fan")]


def test_a_long_text_is_read_in_windows_and_joined(desk: Desk) -> None:
    text = "the pump line is leaking again " * 40
    (result,) = desk.client.post("/v1/predict", json={"text": text}).json()["results"]
    found = told(result["entities"])
    assert len(found) == 80
    assert all(text[start:end] == word for _, start, end, word in found)
    assert [word for *_, word in found] == ["pump line", "leaking"] * 40


def test_an_entity_longer_than_a_window_is_one(desk: Desk) -> None:
    text = "is pump " + "line " * 60 + "is"
    (result,) = desk.client.post("/v1/predict", json={"text": text}).json()["results"]
    assert told(result["entities"]) == [("part", 3, len(text) - 3, text[3:-3])]


def test_rows_of_any_length_are_answered_alike_alone_and_together(folder: Path) -> None:
    rows = ["", "fan", TEXT, "the pump line is leaking again " * 9, "again " * 30, TEXT * 3]
    with Runtime(folder) as runtime:
        together = runtime.predict(rows, batch_size=4)
        alone = [runtime.predict([row])[0] for row in rows]
    assert [one.entities for one in together] == [one.entities for one in alone]


def test_a_text_that_needs_too_many_windows_is_refused_with_its_row(desk: Desk) -> None:
    answer = desk.client.post("/v1/predict", json={"text": ["fan", "fan " * 5000]})
    assert answer.status_code == 422
    assert "row 2: a text of 5,000 tokens needs more than 256 windows of 16; split it" in answer.json()["error"]


def test_a_pair_is_refused(desk: Desk) -> None:
    answer = desk.client.post("/v1/predict", json={"text": [["a", "b"]]})
    assert answer.status_code == 422
    assert "takes one text a row" in answer.json()["error"]


def test_the_v2_protocol_gives_entities_as_json_texts(desk: Desk) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": [TEXT, ""]}
    answer = desk.client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}).json()
    outputs = {one["name"]: one["data"] for one in answer["outputs"]}
    assert outputs.keys() == {"entities", "adapter"}
    assert [told(json.loads(each)) for each in outputs["entities"]] == [WANTED, []]
    refused = desk.client.post("/v2/models/tiny/infer", json={"inputs": [tensor], "outputs": [{"name": "label"}]})
    assert refused.status_code == 400
    assert "default@1 gives entities, no label" in refused.json()["error"]
    given = desk.client.get("/v2/models/default").json()["outputs"]
    assert given[0] == {"name": "entities", "datatype": "BYTES", "shape": [-1]}


def predict(folder: Path, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["predict", str(folder), *arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_predict_on_the_command_line_in_every_form(folder: Path) -> None:
    assert told(json.loads(predict(folder, TEXT))["entities"]) == WANTED
    assert told(json.loads(predict(folder, TEXT, "--json"))["predictions"][0]["entities"]) == WANTED
    header, row = csv.reader(io.StringIO(predict(folder, TEXT, "--format", "csv")))
    assert header == ["row", "text", "entities"]
    assert told(json.loads(row[2])) == WANTED
    table = predict(folder, "fan", "again", "--format", "table")
    assert "fan (part 97%)" in table and "none" in table
