"""What the embedding routes take, answer and refuse, over a service that answers with made-up vectors."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serve.config import ServeConfig
from serve.errors import BusyError, NotFound, SvfitError
from serve.http import embeddings, errors, models
from serve.http.dialects import Dialects

WIDTH = 8


@dataclass(frozen=True)
class Given:
    adapter: str
    embedding: np.ndarray[Any, Any] | None
    tokens: int


class FakeService:
    """Gives each text a vector of its own; "long" is cut, adapter "returns" is a classifier, "gone" isn't there."""

    def __init__(self) -> None:
        self.config = ServeConfig()
        self.fails: SvfitError | None = None
        self.default = "text-embedding"
        self.others = [SimpleNamespace(name="search", task="text-embedding", at="2026-11-30T08:00:00+00:00")]
        self.asked: list[tuple[list[str], list[str | None], float]] = []

    @property
    def runtime(self) -> Any:
        default, others = self.default, self.others

        class Named:
            name = "faq"
            manifest = property(lambda self: self)
            bundle = property(lambda self: self)
            loaded = property(lambda self: self)
            task = default

            def pin(self, name: None) -> Any:
                return self

            def list(self) -> Any:
                return [SimpleNamespace(name="returns", task="text-classification"), *others]

            def whole_length(self, text: str) -> int:
                return len(text.split()) + 2 + 10 * (text == "long")

        return Named()

    async def answer(self, rows: list[str], refs: list[str | None], seconds: float) -> list[Given]:
        self.asked.append((rows, refs, seconds))
        if self.fails:
            raise self.fails
        if "gone" in refs:
            raise NotFound("no adapter gone; there is: faq, returns")
        return [
            Given(
                f"{ref or 'default'}@1",
                None if ref == "returns" else vector(row),
                len(row.split()) + 2,
            )
            for row, ref in zip(rows, refs, strict=True)
        ]

    async def at_runtime(self, work: Any) -> Any:
        return work(self.runtime)

    async def call(self, work: Any, *args: Any) -> Any:
        return work(*args)


def vector(text: str) -> np.ndarray[Any, Any]:
    drawn = np.random.default_rng(sum(text.encode())).normal(size=WIDTH).astype(np.float32)
    return drawn / np.linalg.norm(drawn)


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def client(service: FakeService) -> TestClient:
    app = FastAPI()
    for part in (embeddings, models):
        app.include_router(part.routes(service))  # type: ignore[arg-type]
    errors.install(app)
    app.add_middleware(Dialects)
    return TestClient(app)


def ask(client: TestClient, **body: Any) -> Any:
    return client.post("/v1/embeddings", json={"model": "faq", **body})


def test_a_list_of_texts_gets_openais_document_in_order(client: TestClient, service: FakeService) -> None:
    answer = ask(client, input=["where is my card", "it arrived"], user="somebody")
    assert answer.status_code == 200
    told = answer.json()
    assert told.keys() == {"object", "data", "model", "usage"}
    assert told["object"] == "list"
    assert told["model"] == "default@1"
    assert told["usage"] == {"prompt_tokens": 10, "total_tokens": 10}
    assert [(one["object"], one["index"]) for one in told["data"]] == [("embedding", 0), ("embedding", 1)]
    np.testing.assert_array_equal(np.float32(told["data"][1]["embedding"]), vector("it arrived"))
    assert service.asked[0][1] == [None, None]


def test_a_text_alone_is_answered_as_a_list_of_one(client: TestClient) -> None:
    assert ask(client, input="hello").json()["data"] == ask(client, input=["hello"]).json()["data"]


def test_a_model_that_is_not_the_bundles_name_is_an_adapter(client: TestClient, service: FakeService) -> None:
    assert ask(client, input="hello", model="support@3").json()["model"] == "support@3@1"
    assert service.asked[0][1] == ["support@3"]


def test_where_the_default_classifies_an_embedder_is_found_for_the_bundle(
    client: TestClient, service: FakeService
) -> None:
    service.default = "text-classification"
    assert ask(client, input="hello").json()["model"] == "search@1"
    assert client.post("/embed", json={"inputs": "hello"}).status_code == 200
    assert [refs for _, refs, _ in service.asked] == [["search"], ["search"]]
    service.others = []
    none = client.post("/embed", json={"inputs": "hello"})
    assert (none.status_code, none.json()["error_type"]) == (404, "Validation")


def test_base64_holds_the_same_float32_numbers(client: TestClient) -> None:
    (one,) = ask(client, input="hello", encoding_format="base64").json()["data"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(one["embedding"]), "<f4"), vector("hello"))


def test_dimensions_keep_the_first_numbers_and_make_the_vector_of_length_1_again(client: TestClient) -> None:
    (one,) = ask(client, input="hello", dimensions=3).json()["data"]
    kept = vector("hello")[:3]
    np.testing.assert_allclose(one["embedding"], kept / np.linalg.norm(kept), atol=1e-7)


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"input": []}, "input", "at least one text"),
        ({"input": ""}, "input", "text 1 is empty"),
        ({"input": ["a", ""]}, "input", "text 2 is empty"),
        ({"input": [1, 2]}, "input", "token ids aren't taken"),
        ({"input": [[1, 2], [3]]}, "input", "token ids aren't taken"),
        ({"input": ["a", 3]}, "input", "row 2 is none of it"),
        ({"input": {"text": "a"}}, "input", "must be a text, or a list of texts"),
        ({}, "input", "is missing"),
        ({"input": "a", "model": 3}, "model", "must be text"),
        ({"input": "a", "dimensions": 0}, "dimensions", "greater than or equal to 1"),
        ({"input": "a", "dimensions": 9}, "dimensions", "have 8 (got 9)"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "'float' or 'base64'"),
        ({"input": "a", "model": "returns"}, "model", "returns@1 gives no embeddings"),
        ({"input": "a", "dimension": 3}, None, "dimension: unknown key; did you mean dimensions?"),
    ],
)
def test_what_makes_no_sense_is_400_in_openais_form(
    client: TestClient, body: dict[str, Any], param: str | None, told: str
) -> None:
    answer = ask(client, **body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert told in error["message"]
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_a_body_that_is_no_json_is_400_too(client: TestClient) -> None:
    answer = client.post("/v1/embeddings", content="{")
    assert answer.status_code == 400
    assert "not valid JSON" in answer.json()["error"]["message"]


def test_an_unknown_model_is_404_by_openais_code(client: TestClient) -> None:
    answer = ask(client, input="a", model="gone")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "faq, returns" in error["message"]


def test_a_full_queue_is_429_and_keeps_its_retry_after(client: TestClient, service: FakeService) -> None:
    service.fails = BusyError("the queue is full", 2.5)
    answer = ask(client, input="a")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "3"
    assert answer.json()["error"]["type"] == "rate_limit_error"
    other = client.post("/embed", json={"inputs": "a"})
    assert other.json() == {"error": "the queue is full", "error_type": "Overloaded"}


def test_another_method_is_refused_in_the_form_of_the_route(client: TestClient) -> None:
    answer = client.get("/v1/embeddings")
    assert answer.status_code == 405
    assert answer.json()["error"]["message"].startswith("GET doesn't go")
    assert client.get("/elsewhere").json().keys() == {"error"}


def test_the_time_that_a_header_gives_reaches_the_service(client: TestClient, service: FakeService) -> None:
    headers = {"x-request-timeout-ms": "1500"}
    client.post("/v1/embeddings", json={"model": "faq", "input": "a"}, headers=headers)
    client.post("/embed", json={"inputs": "a"}, headers=headers)
    assert [seconds for _, _, seconds in service.asked] == [1.5, 1.5]


def test_embed_gives_a_list_of_vectors_for_one_text_and_for_many(client: TestClient) -> None:
    one = client.post("/embed", json={"inputs": "hello"})
    assert one.status_code == 200
    np.testing.assert_array_equal(np.float32(one.json()), [vector("hello")])
    body = {"inputs": ["hello", "long"], "normalize": True, "truncate": True, "truncation_direction": "Right"}
    many = client.post("/embed", json={**body, "prompt_name": None, "dimensions": 4}).json()
    assert np.shape(many) == (2, 4)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)


def test_embed_refuses_a_text_that_it_would_cut_only_where_told_so(client: TestClient) -> None:
    assert client.post("/embed", json={"inputs": "long"}).status_code == 200
    answer = client.post("/embed", json={"inputs": ["short", "long"], "truncate": False})
    assert answer.status_code == 422
    assert answer.json()["error_type"] == "Validation"
    assert "text 2 has 13 tokens, default@1 reads 3" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"inputs": ""}, "inputs: text 1 is empty"),
        ({"inputs": []}, "at least one text"),
        ({"inputs": [5]}, "token ids aren't taken"),
        ({"inputs": "a", "normalize": False}, "normalize"),
        ({"inputs": "a", "prompt_name": "query"}, "prompt_name"),
        ({"inputs": "a", "truncation_direction": "Left"}, "truncation_direction"),
    ],
)
def test_embed_refuses_what_it_cannot_do(client: TestClient, body: dict[str, Any], told: str) -> None:
    answer = client.post("/embed", json=body)
    assert answer.status_code == 422
    assert answer.json().keys() == {"error", "error_type"}
    assert told in answer.json()["error"]


def test_many_wrong_rows_are_told_in_one_short_line(client: TestClient) -> None:
    answer = client.post("/v1/embeddings", content=json.dumps({"model": "faq", "input": ["a", *[None] * 100_000]}))
    assert answer.status_code == 400
    assert len(answer.content) < 400


def test_models_are_those_that_embed_the_bundles_name_first(client: TestClient, service: FakeService) -> None:
    told = {"object": "model", "created": 1796025600, "owned_by": "svfit"}
    assert client.get("/v1/models").json() == {
        "object": "list",
        "data": [{"id": "faq", **told}, {"id": "search", **told}],
    }
    assert client.get("/v1/models/search").json() == {"id": "search", **told}
    unknown = client.get("/v1/models/returns")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert "available: faq, search" in unknown.json()["error"]["message"]
    service.others[0].at = "one day"
    assert client.get("/v1/models/search").json()["created"] == 0


def test_a_bundle_without_embedders_lists_no_model(client: TestClient, service: FakeService) -> None:
    service.others = []
    assert client.get("/v1/models").json() == {"object": "list", "data": []}
    assert "available: none" in client.get("/v1/models/faq").json()["error"]["message"]
