"""Keys: who may ask, who may change, and where keys come from."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from serve.access import Access, ForbiddenError, UnauthorizedError, is_loopback, load_access
from serve.errors import UsageError

USER, ADMIN = "a-key-that-asks-1", "a-key-that-changes"
BOTH = Access((USER.encode(),), (ADMIN.encode(),), local=False)


def test_without_keys_everything_is_allowed_on_loopback() -> None:
    Access().check(None, admin=False)
    Access().check(None, admin=True)


def test_beyond_loopback_nothing_is_changed_without_an_admin_key() -> None:
    Access(local=False).check(None, admin=False)
    with pytest.raises(ForbiddenError, match="SVFIT_ADMIN_KEY"):
        Access(local=False).check(None, admin=True)
    with pytest.raises(ForbiddenError):
        Access((USER.encode(),), local=False).check(USER, admin=True)


def test_what_came_by_a_proxy_or_a_foreign_page_changes_nothing_without_an_admin_key() -> None:
    with pytest.raises(ForbiddenError):
        Access().check(None, admin=True, direct=False)
    Access(admin_keys=(ADMIN.encode(),)).check(ADMIN, admin=True, direct=False)


def test_on_loopback_an_api_key_is_asked_for_changes_too() -> None:
    access = Access((USER.encode(),))
    access.check(USER, admin=True)
    with pytest.raises(UnauthorizedError):
        access.check(None, admin=True)


@pytest.mark.parametrize(("key", "admin"), [(USER, False), (ADMIN, False), (ADMIN, True)])
def test_a_right_key_is_let_in(key: str, admin: bool) -> None:
    BOTH.check(key, admin=admin)


@pytest.mark.parametrize("admin", [False, True])
@pytest.mark.parametrize("key", [None, "", "wrong", USER[:-1], USER + "x", "ключ", "\udcff"])
def test_a_wrong_key_is_not(key: str | None, admin: bool) -> None:
    with pytest.raises(UnauthorizedError):
        BOTH.check(key, admin=admin)


def test_a_key_that_asks_changes_nothing() -> None:
    with pytest.raises(ForbiddenError, match="admin key"):
        BOTH.check(USER, admin=True)


def test_keys_are_compared_in_constant_time_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append(right)
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    Access((b"first-key-of-all", b"second-key-of-all")).check("first-key-of-all", admin=False)
    assert compared == [b"first-key-of-all", b"second-key-of-all"]


def test_keys_never_show_in_a_representation() -> None:
    assert USER not in repr(BOTH)


def test_keys_come_from_files_and_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# who asks\n\n{USER}\r\nanother-key-that-asks\n")
    access = load_access("0.0.0.0", path, None, {"SVFIT_API_KEY": "one-from-environ", "SVFIT_ADMIN_KEY": ADMIN})  # noqa: S104
    assert access.api_keys == (USER.encode(), b"another-key-that-asks", b"one-from-environ")
    assert access.admin_keys == (ADMIN.encode(),)
    assert not access.local


@pytest.mark.parametrize(
    ("text", "told"), [("", "holds no key"), ("# only this\n", "holds no key"), ("short\n", "at least 16")]
)
def test_a_file_without_good_keys_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        load_access("localhost", path, None, {})


def test_an_empty_variable_is_refused_and_not_read_as_no_key() -> None:
    with pytest.raises(UsageError, match="SVFIT_API_KEY"):
        load_access("localhost", None, None, {"SVFIT_API_KEY": ""})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
