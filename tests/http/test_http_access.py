"""Keys over HTTP: what is open, what needs a key, what needs the admin's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_desk import Desk

from serve.access import Access
from serve.http.access import ASKING

USER, ADMIN = "a-key-that-asks-1", "a-key-that-changes"
KEYED = Access((USER.encode(),), (ADMIN.encode(),), local=False)
OPEN = ["/v1/health/live", "/v1/health/ready", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"]
CHANGES = [
    ("POST", "/v1/adapters/x"),
    ("DELETE", "/v1/adapters/alpha"),
    ("DELETE", "/v1/adapters/alpha/versions/1"),
    ("PUT", "/v1/adapters/alpha/default"),
    ("POST", "/v1/adapters/alpha/rollback"),
    ("POST", "/v1/adapters/alpha/rename"),
    ("POST", "/v1/adapters/alpha/promote"),
    ("POST", "/v1/adapters/alpha/demote"),
    ("POST", "/v2/repository/models/alpha/load"),
    ("POST", "/v2/repository/models/alpha/unload"),
]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def keyed(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(site, access=KEYED, state=tmp_path_factory.mktemp("state"))
    yield desk
    desk.close()


@pytest.mark.parametrize("path", OPEN)
def test_health_and_documentation_need_no_key(keyed: Desk, path: str) -> None:
    assert keyed.client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/v1/adapters", "/v1/adapters/alpha", "/metrics", "/v2", "/nowhere"])
def test_everything_else_needs_a_key(keyed: Desk, path: str) -> None:
    refused = keyed.client.get(path)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json().keys() == {"error"}
    assert keyed.client.get(path, headers=bearer(USER)).status_code in (200, 404)


def test_a_key_is_taken_from_either_header(keyed: Desk) -> None:
    body = {"text": "fan"}
    assert keyed.client.post("/v1/predict", json=body).status_code == 401
    assert keyed.client.post("/v1/predict", json=body, headers=bearer("wrong" * 5)).status_code == 401
    assert keyed.client.post("/v1/predict", json=body, headers=bearer(USER)).status_code == 200
    assert keyed.client.post("/v1/predict", json=body, headers={"x-api-key": ADMIN}).status_code == 200


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_a_change_needs_the_admin_key(keyed: Desk, method: str, path: str) -> None:
    assert keyed.client.request(method, path).status_code == 401
    assert keyed.client.request(method, path, headers=bearer(USER)).status_code == 403


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_the_admin_key_goes_past_the_door(keyed: Desk, method: str, path: str) -> None:
    nobody = path.replace("alpha", "nobody")
    assert keyed.client.request(method, nobody, headers=bearer(ADMIN)).status_code in (404, 409, 422)


def test_every_route_that_is_no_question_is_kept_from_askers(keyed: Desk) -> None:
    """Whatever routes there are: those an asker may post to are just these."""
    open_to_askers = set()
    for path, operations in keyed.app.openapi()["paths"].items():
        for method in operations:
            plain = path.replace("{name}", "alpha").replace("{version}", "1")
            answer = keyed.client.request(method, plain, headers=bearer(USER))
            if method != "get" and answer.status_code != 403:
                assert ASKING.fullmatch(plain)
                open_to_askers.add(path)
    assert open_to_askers == {
        "/embed",
        "/v1/embeddings",
        "/v1/predict",
        "/v2/models/{name}/infer",
        "/v2/models/{name}/versions/{version}/infer",
        "/v2/repository/index",
    }


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"x-forwarded-for": "10.0.0.1"},
        {"forwarded": "for=10.0.0.1"},
        {"host": "evil.example"},
        {"host": "evil.example:80"},
    ],
)
def test_without_an_admin_key_no_foreign_page_or_proxy_changes_anything(desk: Desk, headers: dict[str, str]) -> None:
    assert desk.client.delete("/v1/adapters/beta", headers=headers).status_code == 403
    assert desk.client.get("/v1/adapters/beta").status_code == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1:8080", "[::1]:8080", "[::1]"])
def test_without_an_admin_key_this_machine_changes_adapters(desk: Desk, host: str) -> None:
    assert desk.client.delete("/v1/adapters/beta", headers={"host": host}).status_code == 200


def test_beyond_loopback_without_an_admin_key_the_way_out_is_told(make_desk: Any) -> None:
    desk = make_desk(access=Access(local=False))
    refused = desk.client.delete("/v1/adapters/beta")
    assert refused.status_code == 403
    assert "SVFIT_ADMIN_KEY" in refused.json()["error"]


def test_a_refusal_does_not_read_the_body(keyed: Desk) -> None:
    refused = keyed.client.post("/v1/adapters/x", content=b"x" * 10_000)
    assert refused.status_code == 401
    assert refused.headers["connection"] == "close"


def test_cors_is_off_unless_named(desk: Desk, make_desk: Any) -> None:
    asked = {"origin": "https://page.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in desk.client.options("/v1/predict", headers=asked).headers
    named = make_desk(cors_origins=("https://page.example",), access=KEYED)
    allowed = named.client.options("/v1/predict", headers=asked)
    assert allowed.headers["access-control-allow-origin"] == "https://page.example"
    refused = named.client.post("/v1/predict", json={"text": "a"}, headers={"origin": "https://page.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://page.example"
    other = named.client.options("/v1/predict", headers={**asked, "origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
