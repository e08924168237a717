"""Bodies that go to a file: bounded whatever the headers say, and gone with the request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from http_desk import Desk
from starlette.datastructures import Headers

from serve.access import Access
from serve.errors import TooLarge
from serve.http.limits import HungUp, SlowError
from serve.http.uploads import Upload, read_upload

Messages = Sequence[dict[str, Any]]


def arriving(messages: Messages) -> Callable[[], Awaitable[dict[str, Any]]]:
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.sleep(10)
        return left.pop(0)

    return receive


def part(data: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def upload(folder: Path, messages: Messages, most_mb: float = 1.0, **headers: str) -> Upload:
    return asyncio.run(read_upload(arriving(messages), Headers(headers), folder, most_mb, 0.05))


def test_a_body_is_put_into_a_file_that_is_removed_unless_it_was_taken(tmp_path: Path) -> None:
    body = [part(b"a" * 700_000), part(b""), part(b"b" * 300_000, more=False)]
    first = upload(tmp_path, body)
    assert first.path.read_bytes() == b"a" * 700_000 + b"b" * 300_000
    first.discard()
    assert not any(tmp_path.iterdir())
    second = upload(tmp_path, body)
    taken = second.take()
    second.discard()
    assert taken.exists()


@pytest.mark.parametrize(
    ("messages", "headers", "kind"),
    [
        ([], {"content-length": "2000000"}, TooLarge),
        ([part(b"a" * 600_000), part(b"a" * 600_000)], {}, TooLarge),
        ([part(b"a" * 600_000), part(b"a" * 600_000)], {"content-length": "12"}, TooLarge),
        ([part(b"a"), {"type": "http.disconnect"}], {}, HungUp),
        ([part(b"a")], {}, SlowError),
    ],
)
def test_a_body_that_is_too_large_too_slow_or_broken_off_leaves_no_file(
    tmp_path: Path, messages: Messages, headers: dict[str, str], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        upload(tmp_path, messages, **headers)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/site"), ("GET", "/v1/site/archive"), ("PUT", "/v1/site/releases")]
)
def test_a_site_takes_an_admin_key_for_reading_too(make_desk: Callable[..., Desk], method: str, path: str) -> None:
    access = Access((b"a-key-that-asks-1",), (b"a-key-that-changes",), local=True)
    client = make_desk(access=access).client
    for key, status in ((None, 401), ("a-key-that-asks-1", 403), ("a-key-that-changes", 404)):
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        assert client.request(method, path, headers=headers).status_code == status
