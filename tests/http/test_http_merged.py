"""A merged bundle behind the same server: one adapter, pairs, values; nothing to add."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from http_desk import Desk
from tiny_bundle import Shape, make_bundle


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(make_bundle(tmp_path_factory.mktemp("merged") / "bundle", Shape(texts=2, regression=True)))
    yield desk
    desk.close()


def test_pairs_get_values(merged: Desk) -> None:
    rows = [["the pump", "is leaking"], ["fan", ""]]
    results = merged.client.post("/v1/predict", json={"text": rows}).json()["results"]
    expected = merged.runtime.predict([("the pump", "is leaking"), ("fan", "")])
    assert [result["value"] for result in results] == pytest.approx([one.value for one in expected], abs=1e-6)
    assert all(result.keys() == {"adapter", "value"} for result in results)


def test_two_texts_alone_are_two_rows_and_no_pair(merged: Desk) -> None:
    answer = merged.client.post("/v1/predict", json={"text": ["the pump", "is leaking"]})
    assert answer.status_code == 422
    assert "row 1: this bundle takes a pair of texts a row (got 1)" in answer.json()["error"]


def test_its_one_adapter_is_listed_and_stays(merged: Desk, tmp_path: Path) -> None:
    (info,) = merged.client.get("/v1/adapters").json()["adapters"]
    assert info["name"] == "default"
    assert merged.client.delete("/v1/adapters/default").status_code == 409
    files = dict.fromkeys(("adapter.json", "adapter.safetensors"), ("x", b"{}"))
    refused = merged.client.post("/v1/adapters/more", files=files)
    assert refused.status_code == 409
    assert 'export.mode = "swappable"' in refused.json()["error"]
