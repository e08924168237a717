"""/v1/adapters: adapters come, change and go while the server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from http_desk import Desk, until
from tiny_swap import make_adapter

PARTS = ("adapter.json", "adapter.safetensors")


@pytest.fixture
def returns(tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "returns", 7, ("broken", "late"))


def upload(desk: Desk, folder: Path, name: str = "returns") -> Any:
    files = {part: (part, (folder / part).read_bytes()) for part in PARTS}
    return desk.client.post(f"/v1/adapters/{name}", files=files)


def answered_by(desk: Desk, adapter: str) -> str:
    answer = desk.client.post("/v1/predict", json={"text": "fan", "adapter": adapter})
    return str(answer.json()["results"][0]["adapter"]) if answer.status_code == 200 else str(answer.status_code)


def test_an_uploaded_adapter_answers_at_once(desk: Desk, returns: Path) -> None:
    answer = upload(desk, returns)
    assert answer.status_code == 201
    assert answer.json()["version"] == 1
    assert answer.json()["labels"] == ["broken", "late"]
    assert answered_by(desk, "returns") == "returns@1"


def test_versions_are_added_pointed_at_rolled_back_and_removed(desk: Desk, returns: Path) -> None:
    for version in (1, 2, 3):
        assert upload(desk, returns).json()["version"] == version
    assert answered_by(desk, "returns") == "returns@3"
    assert desk.client.put("/v1/adapters/returns/default", json={"version": 1}).json()["version"] == 1
    assert answered_by(desk, "returns") == "returns@1"
    assert desk.client.post("/v1/adapters/returns/rollback").json()["version"] == 3
    assert desk.client.delete("/v1/adapters/returns/versions/3").status_code == 409
    assert desk.client.delete("/v1/adapters/returns/versions/1").json() == {"removed": "returns@1"}
    assert desk.client.get("/v1/adapters/returns").json()["versions"] == [2, 3]
    assert desk.client.delete("/v1/adapters/returns").json() == {"removed": "returns"}
    assert answered_by(desk, "returns") == "404"


def test_a_renamed_adapter_answers_by_its_new_name_only(desk: Desk, returns: Path) -> None:
    upload(desk, returns)
    renamed = desk.client.post("/v1/adapters/returns/rename", json={"to": "parcels"})
    assert renamed.json()["name"] == "parcels"
    assert (answered_by(desk, "returns"), answered_by(desk, "parcels")) == ("404", "parcels@1")
    assert desk.client.post("/v1/adapters/parcels/rename", json={"to": "alpha"}).status_code == 409


def test_a_card_is_shown_of_a_name_and_of_a_version(desk: Desk, returns: Path) -> None:
    upload(desk, returns)
    upload(desk, returns)
    assert desk.client.get("/v1/adapters/returns").json()["version"] == 2
    shown = desk.client.get("/v1/adapters/returns@1").json()
    assert (shown["version"], shown["versions"]) == (1, [1, 2])
    assert shown["card"]["labels"] == ["broken", "late"]
    assert desk.client.get("/v1/adapters/nobody").status_code == 404


def test_the_list_comes_in_pages(desk: Desk, returns: Path) -> None:
    upload(desk, returns)
    names, after = [], ""
    for _ in range(3):
        page = desk.client.get("/v1/adapters", params={"limit": 1, "after": after}).json()
        names += [info["name"] for info in page["adapters"]]
        after = page["next"]
    assert names == ["alpha", "beta", "returns"]
    assert after is None
    assert desk.client.get("/v1/adapters", params={"limit": 0}).status_code == 422


def test_a_broken_upload_leaves_the_old_version(desk: Desk, returns: Path) -> None:
    upload(desk, returns)
    (returns / PARTS[1]).write_bytes((returns / PARTS[1]).read_bytes()[:-3])
    answer = upload(desk, returns)
    assert answer.status_code == 422
    assert answer.json().keys() == {"error"}
    assert desk.client.get("/v1/adapters/returns").json()["versions"] == [1]
    assert answered_by(desk, "returns") == "returns@1"


def test_an_adapter_of_another_basis_is_refused_with_both_ids(desk: Desk, tmp_path: Path) -> None:
    foreign = make_adapter(tmp_path / "foreign", 1, basis_id="c" * 64)
    answer = upload(desk, foreign)
    assert answer.status_code == 422
    assert "b" * 8 in answer.json()["error"]
    assert "c" * 8 in answer.json()["error"]


def test_an_upload_over_the_limit_is_413(make_desk: Any, returns: Path) -> None:
    desk = make_desk(max_body_mb=0.001)
    assert upload(desk, returns).status_code == 413


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"content": b"{}"}, "multipart/form-data"),
        ({"files": {PARTS[0]: ("x", b"{}")}}, f"part {PARTS[1]}: is missing"),
        ({"files": {"other": ("x", b"{}")}}, "unknown part 'other'"),
        ({"files": [(PARTS[0], ("x", b"{}")), (PARTS[0], ("y", b"{}"))]}, "a part is there twice"),
        ({"data": {PARTS[0]: "{}"}, "files": {PARTS[1]: ("x", b"")}}, f"part {PARTS[0]}: is no file"),
        ({"content": b"no form", "headers": {"content-type": "multipart/form-data; boundary=x"}}, ""),
        ({"content": b"no form", "headers": {"content-type": "multipart/form-data"}}, ""),
    ],
)
def test_a_form_that_is_no_adapter_is_told_what_to_send(desk: Desk, sent: dict[str, Any], told: str) -> None:
    answer = desk.client.post("/v1/adapters/x", **sent)
    assert answer.status_code in (400, 422)
    assert answer.json().keys() == {"error"}
    assert told in answer.json()["error"]


@pytest.mark.parametrize("name", ["..", "a b", "x" * 65, "-a", "a%2Fb", "a@1"])
def test_a_name_that_is_none_is_refused(desk: Desk, returns: Path, name: str) -> None:
    assert upload(desk, returns, name).status_code in (404, 405, 422)


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/v1/adapters/alpha/default", {"version": "1"}, "version: should be a valid integer"),
        ("/v1/adapters/alpha/default", {"version": 1, "more": 1}, "more: unknown key"),
        ("/v1/adapters/alpha/default", {}, "version: is missing"),
    ],
)
def test_a_change_that_makes_no_sense_names_the_field(desk: Desk, path: str, body: Any, told: str) -> None:
    answer = desk.client.put(path, json=body)
    assert answer.status_code == 422
    assert told in answer.json()["error"]


def test_a_change_is_taken_as_json_though_curl_calls_it_a_form(desk: Desk, returns: Path) -> None:
    for _ in range(2):
        upload(desk, returns)
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = desk.client.put("/v1/adapters/returns/default", content='{"version": 1}', headers=form)
    assert answer.json()["version"] == 1
    assert desk.client.put("/v1/adapters/returns/default", headers=form).json()["error"].endswith("with version")


def test_a_promoted_adapter_answers_the_same_from_a_graph_of_its_own(desk: Desk) -> None:
    def score() -> float:
        answer = desk.client.post("/v1/predict", json={"text": "the pump is leaking", "adapter": "beta"})
        return float(answer.json()["results"][0]["score"])

    def promoted() -> bool:
        return bool(desk.client.get("/v1/adapters/beta").json()["promoted"])

    before = score()
    assert desk.client.post("/v1/adapters/beta/promote").status_code == 200
    until(promoted)
    assert desk.metric("svfit_adapter_promoted") == 1
    assert score() == pytest.approx(before, abs=1e-4)
    assert desk.client.post("/v1/adapters/beta/demote").json()["promoted"] is False
    assert score() == pytest.approx(before, abs=1e-4)
    assert desk.client.post("/v1/adapters/nobody/promote").status_code == 404
