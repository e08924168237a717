"""The binary tensor data extension: bytes behind the JSON, both ways."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oip_desk import Desk, client_of
from starlette.testclient import TestClient

from serve.errors import InputError
from serve.http.binary import HEADER, read_request

PATH = "/v2/models/beta/infer"


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def client(desk: Desk) -> TestClient:
    return client_of(desk)


def packed(*values: str) -> bytes:
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


def described(name: str, count: int, data: bytes) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [count], "parameters": {"binary_data_size": len(data)}}


def body(document: dict[str, Any], *parts: bytes) -> tuple[bytes, dict[str, str]]:
    head = json.dumps(document).encode()
    return b"".join((head, *parts)), {HEADER: str(len(head))}


def split(answer: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """An answer's JSON, and the bytes of each output that has them."""
    length = int(answer.headers[HEADER])
    document, rest = json.loads(answer.content[:length]), answer.content[length:]
    found = {}
    for tensor in document["outputs"]:
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is not None:
            assert "data" not in tensor
            found[tensor["name"]], rest = rest[:size], rest[size:]
    assert rest == b""
    return document, found


def test_texts_and_adapters_come_as_bytes_in_the_order_of_the_inputs(desk: Desk, client: TestClient) -> None:
    texts, adapters = packed("né", ""), packed("beta", "beta@1")
    inputs = [described("text", 2, texts), described("adapter", 2, adapters)]
    content, headers = body({"inputs": inputs}, texts, adapters)
    answer = client.post("/v2/models/site/infer", content=content, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert desk.asked[0][:2] == (["né", ""], ["beta", "beta@1"])


def test_bytes_and_json_go_together(desk: Desk, client: TestClient) -> None:
    adapters = packed("beta")
    texts = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    content, headers = body({"inputs": [texts, described("adapter", 1, adapters)]}, adapters)
    assert client.post("/v2/models/site/infer", content=content, headers=headers).status_code == 200
    assert desk.asked[0][:2] == (["a"], ["beta"])


def ask(client: TestClient, **more: Any) -> Any:
    texts = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}
    return client.post(PATH, json={"inputs": [texts], **more})


def test_all_outputs_go_out_as_bytes_where_the_request_says_so(client: TestClient) -> None:
    answer = ask(client, parameters={"binary_data_output": True})
    assert answer.headers["content-type"] == "application/octet-stream"
    document, found = split(answer)
    assert [tensor["name"] for tensor in document["outputs"]] == ["label", "score", "probabilities", "adapter"]
    assert found["label"] == packed("red", "red")
    assert found["score"] == struct.pack("<2f", 0.5, 0.5)
    assert found["probabilities"] == struct.pack("<6f", *[0.5, 0.375, 0.25] * 2)


def test_an_output_says_for_itself_how_it_goes_out(client: TestClient) -> None:
    wanted = [
        {"name": "label", "parameters": {"binary_data": False}},
        {"name": "score", "parameters": {"binary_data": True}},
        {"name": "adapter"},
    ]
    document, found = split(ask(client, outputs=wanted))
    assert found.keys() == {"score"}
    assert [tensor.get("data") for tensor in document["outputs"]] == [["red", "red"], None, ["beta@2", "beta@2"]]
    document, found = split(ask(client, outputs=wanted, parameters={"binary_data_output": True}))
    assert found.keys() == {"score", "adapter"}


TEXT = packed("a")


@pytest.mark.parametrize(
    ("document", "parts", "message"),
    [
        ({"inputs": [described("text", 1, TEXT)]}, [TEXT[:-1]], "4 bytes follow the JSON"),
        ({"inputs": [described("text", 1, TEXT)]}, [TEXT, b"x"], "1 bytes are left"),
        ({"inputs": [described("text", 2, TEXT)]}, [TEXT], "1 elements for the shape"),
        ({"inputs": [{**described("text", 1, TEXT), "data": ["a"]}]}, [TEXT], "give one of them"),
        ({"inputs": [{**described("text", 1, TEXT), "parameters": {"binary_data_size": -1}}]}, [TEXT], "is -1"),
        ({"inputs": [{**described("text", 1, TEXT), "parameters": {"binary_data_size": True}}]}, [TEXT], "is True"),
        ({"inputs": [], "outputs": [{"name": "label", "parameters": {"binary_data": 1}}]}, [], "true or false"),
    ],
)
def test_bodies_that_contradict_themselves(
    client: TestClient, document: dict[str, Any], parts: list[bytes], message: str
) -> None:
    content, headers = body(document, *parts)
    answer = client.post(PATH, content=content, headers=headers)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_without_the_header_the_whole_body_is_json(client: TestClient) -> None:
    content, _ = body({"inputs": [described("text", 1, TEXT)]}, TEXT)
    assert "not valid JSON" in client.post(PATH, content=content).json()["error"]
    answer = client.post(PATH, json={"inputs": [described("text", 1, TEXT)]})
    assert f"{HEADER} must say where it ends" in answer.json()["error"]


@pytest.mark.parametrize("header", ["-1", "1e3", "", "x", "100000", "9" * 5000])
def test_a_header_that_is_no_length_of_this_body(client: TestClient, header: str) -> None:
    answer = client.post(PATH, content=b"{}", headers={HEADER: header})
    assert answer.status_code == 400
    assert f"{HEADER}: must be the length of the JSON, 0 to 2 here" in answer.json()["error"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
@settings(max_examples=50)
def test_any_texts_come_through_unchanged(texts: list[str]) -> None:
    data = packed(*texts)
    content, headers = body({"inputs": [described("text", len(texts), data)]}, data)
    request, _ = read_request("beta", "", content, headers[HEADER])
    assert list(request.inputs[0].values) == texts


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    content, headers = body({"inputs": [described("text", 1, data)]}, data)
    try:
        request, _ = read_request("beta", "", content, headers[HEADER])
    except InputError:
        return
    assert packed(*request.inputs[0].values) == data
