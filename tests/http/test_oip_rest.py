"""The Open Inference Protocol's REST routes: JSON in, JSON out, and every refusal as {"error": …}."""

from __future__ import annotations

import json
from typing import Any

import pytest
from oip_desk import Desk, client_of
from starlette.testclient import TestClient

from serve.errors import BusyError, DeadlineError, TooLarge


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def client(desk: Desk) -> TestClient:
    return client_of(desk)


def question(*texts: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}], **more}


def outputs(answer: Any) -> dict[str, Any]:
    return {tensor["name"]: tensor["data"] for tensor in answer.json()["outputs"]}


def test_server_metadata_and_health(client: TestClient) -> None:
    server = client.get("/v2").json()
    assert server.keys() == {"name", "version", "extensions"}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


@pytest.mark.parametrize("path", ["/v2/models/beta", "/v2/models/beta/versions/1"])
def test_model_metadata(client: TestClient, path: str) -> None:
    model = client.get(path).json()
    assert model.keys() == {"name", "versions", "platform", "inputs", "outputs"}
    assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]} in model["outputs"]


@pytest.mark.parametrize("path", ["/v2/models/beta/ready", "/v2/models/beta/versions/2/ready"])
def test_a_model_is_ready_until_the_server_drains(desk: Desk, client: TestClient, path: str) -> None:
    assert client.get(path).json() == {"name": "beta", "ready": True}
    desk.state = "draining"
    assert client.get("/v2/health/live").status_code == 200
    for drained in (path, "/v2/health/ready"):
        answer = client.get(drained)
        assert answer.status_code == 503
        assert answer.json().keys() == {"error"}


def test_an_infer_gives_every_output_and_echoes_the_id(client: TestClient) -> None:
    answer = client.post("/v2/models/site/infer", json=question("a", "b", id="7", parameters={"adapter": "beta@1"}))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert "inference-header-content-length" not in answer.headers
    assert answer.json() == {
        "model_name": "site",
        "model_version": "1",
        "id": "7",
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["red", "red"]},
            {"name": "score", "datatype": "FP32", "shape": [2], "data": [0.5, 0.5]},
            {"name": "probabilities", "datatype": "FP32", "shape": [2, 3], "data": [0.5, 0.375, 0.25] * 2},
            {"name": "adapter", "datatype": "BYTES", "shape": [2], "data": ["beta@1", "beta@1"]},
        ],
    }


def test_without_an_id_none_is_given(client: TestClient) -> None:
    assert "id" not in client.post("/v2/models/site/infer", json=question("a")).json()


def test_a_version_of_an_adapter_answers_by_its_path(client: TestClient) -> None:
    answer = client.post("/v2/models/beta/versions/1/infer", json=question("a"))
    assert (answer.json()["model_name"], answer.json()["model_version"]) == ("beta", "1")
    assert client.post("/v2/models/beta/infer", json=question("a")).json()["model_version"] == "2"


def test_requested_outputs_come_alone(client: TestClient) -> None:
    wanted = [{"name": "adapter"}, {"name": "label"}]
    answer = client.post("/v2/models/beta/infer", json=question("a", outputs=wanted))
    assert outputs(answer) == {"adapter": ["beta@2"], "label": ["red"]}


@pytest.mark.parametrize("data", [["a", "b", "c", "d"], [["a", "b"], ["c", "d"]]])
def test_pairs_are_flat_or_nested(desk: Desk, client: TestClient, data: Any) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2, 2], "data": data}
    assert client.post("/v2/models/delta/infer", json={"inputs": [tensor]}).status_code == 200
    assert desk.asked[0][0] == [("a", "b"), ("c", "d")]


def test_every_row_may_have_its_own_adapter(desk: Desk, client: TestClient) -> None:
    body = question("a", "b")
    body["inputs"].append({"name": "adapter", "datatype": "BYTES", "shape": [2], "data": ["beta", "gamma@1"]})
    assert outputs(client.post("/v2/models/site/infer", json=body))["adapter"] == ["beta@2", "gamma@1"]


def test_any_content_type_is_read_as_json(client: TestClient) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    body = b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}'
    assert client.post("/v2/models/site/infer", content=body, headers=headers).status_code == 200


def test_the_header_and_the_parameter_bound_the_time(desk: Desk, client: TestClient) -> None:
    headers = {"X-Request-Timeout-Ms": "1500"}
    client.post("/v2/models/site/infer", json=question("a"), headers=headers)
    client.post("/v2/models/site/infer", json=question("a", parameters={"timeout": 200_000}), headers=headers)
    assert [seconds for _, _, seconds in desk.asked] == [1.5, 0.2]


def test_a_large_body_is_read_too(client: TestClient) -> None:
    answer = client.post("/v2/models/beta/infer", json=question(*["text " * 40] * 1000, outputs=[{"name": "label"}]))
    assert outputs(answer)["label"] == ["red"] * 1000


def tensor(**changes: Any) -> dict[str, Any]:
    made = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"], **changes}
    return {"inputs": [{name: value for name, value in made.items() if value is not ...}]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[1, 2]", "body: must be a JSON object"),
        ("{", "body: not valid JSON"),
        ("[" * 100_000, "body: not valid JSON"),
        ("\udcff", "body: not valid JSON"),
        ({}, "inputs: is missing"),
        ({"inputs": {}}, "inputs: must be a list"),
        ({"inputs": ["text"]}, "inputs[0]: must be an object"),
        (tensor(name=...), "inputs[0].name: is missing"),
        (tensor(datatype="FP32"), "an FP32 input holds images"),
        (tensor(shape="1"), "inputs[0].shape: must be a list"),
        (tensor(data=...), "data must be a list of texts (got null)"),
        (tensor(data=["a", "b"]), "2 elements for the shape [1]"),
        (tensor(parameters={"shared_memory_region": "x"}), "shared_memory_region is an extension"),
        (tensor(parameters=[]), "inputs[0].parameters: must be an object"),
        (question("a", id=7), "id: must be text"),
        (json.dumps(question("a", id="\ud800")), "id: holds half a surrogate pair"),
        (question("a", parameters=[]), "parameters: must be an object"),
        (question("a", parameters={"binary_data_output": 1}), "must be true or false"),
        (question("a", parameters={"adaptor": "beta"}), 'parameter "adaptor": not known'),
        (question("a", outputs=["label"]), "outputs[0]: must be an object"),
        (question("a", outputs=[{"name": "logits"}]), 'output "logits": not known'),
        (question("a", outputs=[{"name": "label"}, {"name": "label"}]), "asked for twice"),
        (question("a", outputs=[{"name": "label", "parameters": {"classification": 2}}]), "is an extension"),
    ],
)
def test_requests_that_make_no_sense_get_400(client: TestClient, body: Any, message: str) -> None:
    if isinstance(body, str):
        answer = client.post("/v2/models/site/infer", content=body.encode("utf-8", "surrogateescape"))
    else:
        answer = client.post("/v2/models/site/infer", json=body)
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert message in answer.json()["error"]


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    answer = client.post("/v2/models/site/infer", content=b"x", headers={"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "Content-Encoding: gzip is not read here; send the body as it is"},
    )


@pytest.mark.parametrize(
    ("error", "status"),
    [(TooLarge("too large"), 413), (BusyError("too much", 1.2), 429), (DeadlineError("too late"), 503)],
)
def test_an_errors_kind_becomes_a_status(desk: Desk, client: TestClient, error: Exception, status: int) -> None:
    desk.fails = error
    answer = client.post("/v2/models/site/infer", json=question("a"))
    assert (answer.status_code, answer.json()) == (status, {"error": str(error)})
    assert answer.headers.get("retry-after") == {413: None, 429: "2", 503: "1"}[status]


@pytest.mark.parametrize(
    "path", ["models/nothing", "models/nothing/ready", "models/beta/versions/9", "models/site/versions/2"]
)
def test_models_and_versions_that_are_not_there_get_404(client: TestClient, path: str) -> None:
    for answer in (
        client.get(f"/v2/{path}"),
        client.post(f"/v2/{path.removesuffix('/ready')}/infer", json=question("a")),
    ):
        assert answer.status_code == 404
        assert answer.json().keys() == {"error"}


def test_the_routes_are_documented(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    infer = document["paths"]["/v2/models/{name}/infer"]["post"]
    assert "inputs" in infer["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"200", "400", "404", "413", "429", "503"} <= infer["responses"].keys()
    assert "version" not in {item["name"] for item in document["paths"]["/v2/models/{name}"]["get"]["parameters"]}
