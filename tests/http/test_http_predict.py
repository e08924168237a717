"""POST /v1/predict: what it takes, what it answers, what it refuses and how."""

from __future__ import annotations

import json
from typing import Any

import pytest
from http_desk import Desk
from tiny_bundle import LABELS

TEXTS = ["the pump is leaking", "fan noisy", "", "line again"]


def ask(desk: Desk, **body: Any) -> Any:
    return desk.client.post("/v1/predict", json=body)


def test_the_issues_curl_line_works_though_curl_calls_it_a_form(shared_desk: Desk) -> None:
    answer = shared_desk.client.post(
        "/v1/predict",
        content='{"adapter": "beta", "text": "it arrived broken"}',
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 200
    (result,) = answer.json()["results"]
    assert result["adapter"] == "beta@1"
    assert result["label"] in LABELS


def test_rows_of_many_adapters_come_back_in_order_as_the_runtime_answers_them(shared_desk: Desk) -> None:
    adapters = ["beta", None, "alpha@1", "beta@1"]
    results = ask(shared_desk, text=TEXTS, adapter=adapters).json()["results"]
    expected = shared_desk.runtime.predict(TEXTS, adapters)
    assert [result["adapter"] for result in results] == ["beta@1", "alpha@1", "alpha@1", "beta@1"]
    for result, answer in zip(results, expected, strict=True):
        assert result["label"] == answer.label
        assert result["score"] == pytest.approx(answer.score, abs=1e-6)
        assert result["probabilities"] == pytest.approx(answer.probabilities, abs=1e-6)
        assert "value" not in result


def test_probabilities_come_likeliest_first_as_many_as_asked(shared_desk: Desk) -> None:
    whole = ask(shared_desk, text="the fan").json()["results"][0]
    shares = list(whole["probabilities"].values())
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    top = ask(shared_desk, text="the fan", top=2).json()["results"][0]
    assert list(top["probabilities"].items()) == list(whole["probabilities"].items())[:2]
    assert "probabilities" not in ask(shared_desk, text="the fan", probabilities=False).json()["results"][0]


def test_a_list_of_one_and_a_text_alone_are_answered_alike(shared_desk: Desk) -> None:
    assert ask(shared_desk, text=["fan"]).json()["results"] == ask(shared_desk, text="fan").json()["results"]


def test_the_request_id_is_echoed_in_head_and_body_and_made_where_none_is_given(shared_desk: Desk) -> None:
    given = shared_desk.client.post("/v1/predict", json={"text": "fan"}, headers={"x-request-id": "abc-1"})
    assert given.headers["x-request-id"] == given.json()["id"] == "abc-1"
    made = {ask(shared_desk, text="fan").json()["id"] for _ in range(3)}
    assert len(made) == 3
    odd = shared_desk.client.post("/v1/predict", json={"text": "fan"}, headers={"x-request-id": 'a"\tb'})
    assert odd.json()["id"] != 'a"\tb'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "the body is empty"),
        ("{", "body: not valid JSON"),
        ("[]", "body: must be a JSON object"),
        ("{}", "text, image: give one of them"),
        ('{"text": 3}', "text: must be a text, or a list"),
        ('{"text": ["a", "b", 3]}', "row 3 is none of it"),
        ('{"text": ["a", ["b", "c", "d"]]}', "row 2 is none of it"),
        ('{"text": "a", "adapter": 3}', "adapter: must be a name"),
        ('{"text": "a", "adapter": [null, 3]}', "adapter: must be a name"),
        ('{"text": "a", "top": 0}', "top: should be greater than or equal to 1 (got 0)"),
        ('{"text": "a", "probabilities": "yes"}', "probabilities: should be a valid boolean"),
        ('{"text": "a", "adaptor": "x"}', "adaptor: unknown key; did you mean adapter?"),
        ('{"text": []}', "no rows"),
        ('{"text": ["a", "b"], "adapter": ["alpha"]}', "1 adapters for 2 rows"),
        ('{"text": [["a", "b"]]}', "row 1: adapter alpha@1 takes one text a row (got 2)"),
        ('{"text": "\\ud800"}', "body: not valid JSON"),
    ],
)
def test_a_body_that_makes_no_sense_is_422_in_one_line_that_names_the_field(
    shared_desk: Desk, content: str, told: str
) -> None:
    answer = shared_desk.client.post("/v1/predict", content=content)
    assert answer.status_code == 422
    assert answer.json().keys() == {"error"}
    assert told in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_half_of_utf8_is_422(shared_desk: Desk) -> None:
    assert shared_desk.client.post("/v1/predict", content=b'{"text": "\xff"}').status_code == 422


def test_a_million_wrong_rows_are_told_in_one_short_line(shared_desk: Desk) -> None:
    answer = shared_desk.client.post("/v1/predict", content=json.dumps({"text": [1] * 1_000_000}))
    assert answer.status_code == 422
    assert len(answer.content) < 300


def test_an_unknown_adapter_is_404_and_names_those_there_are(shared_desk: Desk) -> None:
    answer = ask(shared_desk, text="fan", adapter="gamma")
    assert answer.status_code == 404
    assert "alpha, beta" in answer.json()["error"]


def test_unknown_routes_and_methods_are_told_in_the_same_form(shared_desk: Desk) -> None:
    for method, path, status in (("GET", "/v1/predict", 405), ("GET", "/v1/predictions", 404), ("GET", "/", 404)):
        answer = shared_desk.client.request(method, path)
        assert answer.status_code == status
        assert answer.json().keys() == {"error"}


def test_an_unexpected_error_is_500_tells_nothing_and_is_logged_with_the_request_id(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(desk.runtime, "pin", fail)
    answer = desk.client.post("/v1/predict", json={"text": "fan"}, headers={"x-request-id": "trace-me"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    (line,) = [line for line in map(json.loads, desk.logged.getvalue().splitlines()) if line["level"] == "error"]
    assert line["id"] == "trace-me"
    assert "secret of the house" in line["trace"]
