"""The repository's routes: which models there are, and adapters that come and go."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from oip_desk import FOLDER, Desk, client_of
from starlette.testclient import TestClient


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def client(desk: Desk) -> TestClient:
    return client_of(desk)


def files(document: bytes = b"{}", tensors: bytes = b"\xff") -> dict[str, str]:
    pairs = {"adapter.json": document, "adapter.safetensors": tensors}
    return {f"file:{name}": base64.b64encode(data).decode() for name, data in pairs.items()}


@pytest.mark.parametrize("options", [{}, {"json": {}}, {"json": {"ready": True}}])
def test_the_index_lists_every_version(client: TestClient, options: dict[str, Any]) -> None:
    answer = client.post("/v2/repository/index", **options)
    assert answer.status_code == 200
    assert answer.json()[0] == {"name": "site", "version": "1", "state": "READY", "reason": ""}
    assert {(entry["name"], entry["version"]) for entry in answer.json()} > {("beta", "1"), ("beta", "2")}


def test_a_load_with_files_adds_a_version(desk: Desk, client: TestClient) -> None:
    answer = client.post("/v2/repository/models/new/load", json={"parameters": {"config": "{}", **files()}})
    assert (answer.status_code, answer.content) == (200, b"")
    assert desk.changes == [((b"{}", b"\xff"), "new")]


def test_a_load_without_files_finds_what_is_there_or_was_sealed(desk: Desk, client: TestClient) -> None:
    assert client.post("/v2/repository/models/beta/load").status_code == 200
    assert desk.changes == []
    assert client.post("/v2/repository/models/away/load", json={}).status_code == 200
    assert desk.changes == [(FOLDER / "adapters" / "away", "away")]
    answer = client.post("/v2/repository/models/nothing/load")
    assert answer.status_code == 404
    assert "load it with file:adapter.json" in answer.json()["error"]


@pytest.mark.parametrize(
    ("name", "body", "status", "message"),
    [
        ("new", {"parameters": {"file:adapter.json": "e30="}}, 400, "must hold both"),
        ("new", {"parameters": {**files(), "file:adapter.json": "e30"}}, 400, "must be base64"),
        ("new", {"parameters": {**files(), "file:adapter.json": 4}}, 400, "must be base64"),
        ("new", {"parameters": {**files(), "file:1/model.onnx": ""}}, 400, "not known; available: config"),
        ("new", {"parameters": []}, 400, "parameters: must be an object"),
        ("new", [], 400, "must be a JSON object"),
        ("site", {"parameters": files()}, 409, "load an adapter under another name"),
        ("a@1", {"parameters": files()}, 404, "a version goes apart"),
    ],
)
def test_loads_that_are_refused(
    desk: Desk, client: TestClient, name: str, body: Any, status: int, message: str
) -> None:
    answer = client.post(f"/v2/repository/models/{name}/load", json=body)
    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert desk.changes == []


def test_an_unload_removes_an_adapter(desk: Desk, client: TestClient) -> None:
    body = {"parameters": {"unload_dependents": False}}
    answer = client.post("/v2/repository/models/beta/unload", json=body)
    assert (answer.status_code, answer.content) == (200, b"")
    assert "beta" not in desk.names
    assert client.post("/v2/repository/models/beta/unload", json=body).status_code == 404


def test_the_bundles_model_stays(client: TestClient) -> None:
    assert client.post("/v2/repository/models/site/load").status_code == 200
    answer = client.post("/v2/repository/models/site/unload")
    assert (answer.status_code, answer.json().keys()) == (409, {"error"})
