"""What whoever runs a server looks at: health, metrics, the log, the documentation."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from http_desk import Desk

from serve.service import Service


def ask(desk: Desk, **body: Any) -> Any:
    return desk.client.post("/v1/predict", json=body)


def lines(desk: Desk) -> list[dict[str, Any]]:
    return [json.loads(line) for line in desk.logged.getvalue().splitlines()]


def test_live_and_ready_tell_the_truth(desk: Desk) -> None:
    assert desk.client.get("/v1/health/ready").json() == {"ready": True, "state": "ready"}
    desk.service.state = "draining"
    drained = desk.client.get("/v1/health/ready")
    assert (drained.status_code, drained.json()) == (503, {"ready": False, "state": "draining"})
    assert desk.client.get("/v1/health/live").json() == {"live": True}
    refused = ask(desk, text="fan")
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert desk.client.get("/metrics").status_code == 200


def test_while_loading_it_is_live_and_not_ready(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.service, "_parts", None)
    desk.service.state = "starting"
    assert desk.client.get("/v1/health/live").status_code == 200
    assert desk.client.get("/v1/health/ready").json()["state"] == "starting"
    assert "loading" in ask(desk, text="fan").json()["error"]
    assert desk.client.get("/v2/health/ready").status_code == 503
    assert desk.client.get("/metrics").status_code == 200


def test_metrics_count_requests_rows_tokens_batches_errors_and_adapters(desk: Desk) -> None:
    ask(desk, text=["fan", "the pump"], adapter=["alpha", "beta"])
    ask(desk, text="fan", adapter="nobody")
    ask(desk, text="fan", adapter="beta")
    assert desk.metric("svfit_requests_total", method="POST", route="/v1/predict", status="200") == 2
    assert desk.metric("svfit_requests_total", method="POST", route="/v1/predict", status="404") == 1
    assert desk.metric("svfit_errors_total", kind="not_found") == 1
    assert desk.metric("svfit_rows_total", adapter="alpha") == 1
    assert desk.metric("svfit_rows_total", adapter="beta") == 2
    assert desk.metric("svfit_tokens_total") == 3 + 4 + 3  # with [CLS] and [SEP]
    assert desk.metric("svfit_batch_rows_sum") == 3
    assert desk.metric("svfit_queue_seconds_count") == desk.metric("svfit_compute_seconds_count") == 2
    assert desk.metric("svfit_compute_seconds_sum") > 0
    assert desk.metric("svfit_adapter_adapters") == 2
    assert desk.metric("svfit_adapter_swaps_total") >= 1
    assert desk.metric("svfit_ready") == 1
    text = desk.client.get("/metrics").text
    assert "svfit_request_seconds_bucket" in text
    assert "process_resident_memory_bytes" in text


def test_each_server_counts_for_itself(make_desk: Any) -> None:
    one, other = make_desk(), make_desk()
    ask(one, text="fan")
    assert other.metric("svfit_rows_total", adapter="alpha") == 0


def test_labels_are_bounded(make_desk: Any) -> None:
    desk = make_desk(metrics_labels=1)
    ask(desk, text=["fan"] * 3, adapter=["alpha", "beta", "beta"])
    assert desk.metric("svfit_rows_total", adapter="alpha") == 1
    assert desk.metric("svfit_rows_total", adapter="other") == 2
    for path in ("/a", "/b", "/v1/adapters/nobody"):
        desk.client.get(path)
    desk.client.request("BREW", "/a")
    text = desk.client.get("/metrics").text
    assert set(re.findall(r'svfit_requests_total\{[^}]*route="([^"]*)"', text)) == {
        "/v1/predict",
        "other",
        "/v1/adapters/{name}",
    }
    assert "BREW" not in text


def test_the_log_has_a_line_for_each_request_and_never_what_was_asked(desk: Desk) -> None:
    headers = {"x-request-id": "abc", "authorization": "Bearer a-secret-that-is-a-key"}
    desk.client.post("/v1/predict", json={"text": ["leaking pump", "fan"], "adapter": "beta"}, headers=headers)
    ask(desk, text=["leaking pump", 3])
    first, second = lines(desk)
    assert first | {"at": "", "ms": 0} == {
        "at": "",
        "level": "info",
        "event": "request",
        "id": "abc",
        "method": "POST",
        "path": "/v1/predict",
        "status": 200,
        "ms": 0,
        "rows": 2,
        "adapters": ["beta@1"],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["at"])
    assert first["ms"] > 0
    assert second["status"] == 422
    assert "leaking" not in desk.logged.getvalue()
    assert "secret" not in desk.logged.getvalue()


def test_probes_are_not_logged_and_a_line_stays_a_line(desk: Desk) -> None:
    for path in ("/v1/health/live", "/v1/health/ready", "/metrics"):
        desk.client.get(path)
    assert lines(desk) == []
    desk.client.get("/x%0a{}" + "y" * 500)
    (line,) = lines(desk)
    assert len(line["path"]) == 200


def test_text_logs_are_for_people_and_none_is_silent(make_desk: Any) -> None:
    text, none = make_desk(log="text"), make_desk(log="none")
    for desk in (text, none):
        ask(desk, text="fan")
    line = r'\S+ info request id="\w+" method="POST" path="/v1/predict" status=200 ms=[\d.]+ rows=1 adapters=.*\n'
    assert re.fullmatch(line, text.logged.getvalue())
    assert none.logged.getvalue() == ""


def test_the_documentation_is_one_page_that_fetches_nothing(desk: Desk) -> None:
    page = desk.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img|@import|url\(|https?://", page.text)
    for path in desk.app.openapi()["paths"]:
        assert f"<code>{path}</code>" in page.text
    assert "X-Request-Timeout-Ms" in page.text


def test_openapi_is_typed_for_questions_and_answers(desk: Desk) -> None:
    document = desk.client.get("/openapi.json").json()
    predict = document["paths"]["/v1/predict"]["post"]
    body = predict["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"text", "image", "adapter", "probabilities", "top"}
    reference = predict["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert reference.endswith("PredictResponse")
    assert set(document["components"]["schemas"]["Result"]["properties"]) >= {"label", "score", "adapter", "value"}
    assert not re.search(r'"\$ref": "#/(?!components/schemas/)', json.dumps(document))


@pytest.mark.parametrize("attribute", ["admit", "answer", "call", "close", "loaded", "open", "runtime", "waiting"])
def test_the_doors_lean_on_the_services_documented_face(attribute: str) -> None:
    assert getattr(Service, attribute).__doc__
