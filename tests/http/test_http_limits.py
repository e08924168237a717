"""Limits of size and time: each has its status, and nothing over a limit is read to its end."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from http_desk import PATIENCE, Desk, until

MakeDesk = Any


def post(desk: Desk, headers: dict[str, str] | None = None, **body: Any) -> Any:
    return desk.client.post("/v1/predict", json=body, headers=headers)


def received(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    connection.settimeout(PATIENCE)
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data


def test_too_many_rows_or_characters_are_413(make_desk: MakeDesk) -> None:
    desk = make_desk(max_rows=2, max_characters=10)
    assert post(desk, text=["a", "b"]).status_code == 200
    rows = post(desk, text=["a", "b", "c"])
    assert (rows.status_code, rows.json()["error"]) == (413, "3 rows; a request may have 2; send several")
    assert post(desk, text=["abcdef", "ghijk"]).status_code == 413


def test_a_body_over_the_limit_is_413_by_its_head_alone(make_desk: MakeDesk) -> None:
    desk = make_desk(max_body_mb=0.01)
    with desk.listening() as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    assert b"max_body_mb" in answer


def test_a_body_in_chunks_is_413_once_it_passes_the_limit(make_desk: MakeDesk) -> None:
    desk = make_desk(max_body_mb=0.01)

    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1024

    answer = desk.client.post("/v1/predict", content=chunks())
    assert answer.status_code == 413
    assert post(desk, text="fan").status_code == 200


def test_a_body_that_does_not_arrive_is_408(make_desk: MakeDesk) -> None:
    desk = make_desk(read_seconds=0.1)
    with desk.listening() as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b'POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"text": ')
        assert received(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "", "9" * 30, "²"])
def test_a_deadline_that_is_none_is_422(desk: Desk, value: str) -> None:
    answer = post(desk, text="fan", headers={"x-request-timeout-ms": value.encode()})  # type: ignore[dict-item]
    assert answer.status_code == 422
    assert "X-Request-Timeout-Ms" in answer.json()["error"]


@pytest.mark.parametrize("by", ["header", "default", "cap"])
def test_past_its_deadline_a_request_is_503_with_retry_after_and_leaves_the_queue(make_desk: MakeDesk, by: str) -> None:
    settings = {"header": {}, "default": {"timeout_ms": 60}, "cap": {"timeout_ms": 60, "max_timeout_ms": 60}}[by]
    headers = {"header": {"x-request-timeout-ms": "60"}, "default": {}, "cap": {"x-request-timeout-ms": "60000"}}[by]
    desk = make_desk(workers=1, **settings)
    desk.gate.shut()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(post, desk, {"x-request-timeout-ms": "60"}, text="fan")
        until(lambda: desk.gate.batches == [1])
        began = time.monotonic()
        late = post(desk, headers, text=["pump", "line"])
        assert time.monotonic() - began < PATIENCE / 2
        assert late.status_code == 503
        assert int(late.headers["retry-after"]) >= 1
        until(lambda: desk.service.waiting == 0)
        assert first.result().status_code == 503
        desk.gate.open()
    assert post(desk, text="fan").status_code == 200
    assert desk.gate.batches == [1, 1]


def test_a_full_queue_is_429_with_retry_after(make_desk: MakeDesk) -> None:
    desk = make_desk(workers=1, queue_rows=2)
    desk.gate.shut()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(post, desk, text="fan")
        until(lambda: desk.gate.batches == [1])
        waiting = pool.submit(post, desk, text=["pump", "line"])
        until(lambda: desk.service.waiting == 2)
        refused = post(desk, text="again")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        desk.gate.open()
        assert running.result().status_code == waiting.result().status_code == 200


def test_a_client_that_hangs_up_frees_its_place(make_desk: MakeDesk) -> None:
    desk = make_desk(workers=1)
    desk.gate.shut()
    body = json.dumps({"text": ["pump", "line", "again"]}).encode()
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with desk.listening() as port:
        busy = threading.Thread(target=post, args=(desk,), kwargs={"text": "fan"})
        busy.start()
        until(lambda: desk.gate.batches == [1])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head + body)
            until(lambda: desk.service.waiting == 3)
        until(lambda: desk.service.waiting == 0)
        desk.gate.open()
        busy.join(PATIENCE)
        until(lambda: '"status": 499' in desk.logged.getvalue())
    assert desk.gate.batches == [1]
    assert desk.metric("svfit_requests_total", method="POST", route="/v1/predict", status="499") == 1


def test_a_client_that_hangs_up_in_its_body_is_no_error(desk: Desk) -> None:
    with desk.listening() as port:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b'POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"text": ')
        until(lambda: '"status": 499' in desk.logged.getvalue())
    assert '"error"' not in desk.logged.getvalue()


def test_many_requests_on_one_connection_are_answered(desk: Desk) -> None:
    body = b'{"text": "fan"}'
    one = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(body)
    with desk.listening() as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall((one + b"\r\n" + body) * 3 + one + b"Connection: close\r\n\r\n" + body)
        assert received(connection).count(b"HTTP/1.1 200 ") == 4


def test_an_answers_packets_do_not_wait_for_each_other(desk: Desk) -> None:
    """Nagle's algorithm would hold the second one back until the client acknowledges the first, 40 ms later."""
    body = b'{"text": "fan"}'
    request = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def quarter(port: int) -> float:
        """Seconds that a quarter of twenty answers keeps within: a connection's first are acknowledged at once."""
        seconds = []
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for _ in range(20):
                began, data = time.perf_counter(), b""
                connection.sendall(request)
                while not data.endswith(b"]}"):
                    data += connection.recv(65536)
                seconds.append(time.perf_counter() - began)
        return sorted(seconds)[len(seconds) // 4]

    with desk.listening() as port:
        assert any(quarter(port) < 0.03 for _ in range(10))  # a busy machine has slow moments
