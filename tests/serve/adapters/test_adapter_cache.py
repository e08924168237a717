from __future__ import annotations

import dataclasses
import threading
import time

import pytest
from tiny_swap import make_adapter, make_swap_bundle

from serve.adapters.adapter import LoadedAdapter, read_adapter
from serve.adapters.cache import AdapterCache
from serve.bundle import Bundle
from serve.errors import InputError


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> LoadedAdapter:
    folder = tmp_path_factory.mktemp("cache")
    manifest = Bundle.open(make_swap_bundle(folder / "bundle")).manifest
    return dataclasses.replace(read_adapter(make_adapter(folder / "x"), manifest), nbytes=100)


def never() -> LoadedAdapter:
    raise AssertionError("loaded again")


def test_what_is_in_memory_is_not_loaded_again(adapter: LoadedAdapter) -> None:
    cache = AdapterCache(1000)
    assert cache.get("a", lambda: adapter) is adapter
    assert cache.get("a", never) is adapter
    stats = cache.stats()
    assert (stats.adapters, stats.nbytes, stats.loads, stats.evictions) == (1, 100, 1, 0)


def test_the_least_recently_used_leave_when_the_budget_is_spent(adapter: LoadedAdapter) -> None:
    cache = AdapterCache(300)
    for name in "abc":
        cache.get(name, lambda: adapter)
    cache.get("a", never)
    cache.get("d", lambda: adapter)
    assert [name for name in "abcd" if name in cache] == ["a", "c", "d"]
    cache.get("e", lambda: dataclasses.replace(adapter, nbytes=250))
    assert [name for name in "abcde" if name in cache] == ["e"]
    stats = cache.stats()
    assert (stats.adapters, stats.nbytes, stats.evictions) == (1, 250, 4)


def test_one_that_is_larger_than_the_budget_is_given_and_drives_no_other_out(adapter: LoadedAdapter) -> None:
    cache = AdapterCache(150)
    cache.get("a", lambda: adapter)
    large = dataclasses.replace(adapter, nbytes=151)
    assert cache.get("b", lambda: large) is large
    assert [name for name in "ab" if name in cache] == ["a"]


def test_who_holds_one_that_left_still_has_it(adapter: LoadedAdapter) -> None:
    cache = AdapterCache(100)
    mine = cache.get("a", lambda: dataclasses.replace(adapter))
    cache.get("b", lambda: adapter)
    assert "a" not in cache
    assert mine.sigma.sum() == adapter.sigma.sum()


def test_discarding_frees_its_bytes(adapter: LoadedAdapter) -> None:
    cache = AdapterCache(1000)
    cache.get("a", lambda: adapter)
    cache.discard("a")
    cache.discard("never there")
    assert (cache.stats().adapters, cache.stats().nbytes) == (0, 0)


def test_a_failure_is_told_and_the_next_to_ask_loads_again(adapter: LoadedAdapter) -> None:
    cache = AdapterCache(1000)

    def fail() -> LoadedAdapter:
        raise InputError("broken")

    with pytest.raises(InputError, match="broken"):
        cache.get("a", fail)
    assert cache.get("a", lambda: adapter) is adapter


@pytest.mark.parametrize("fails", [False, True])
def test_many_that_ask_at_once_share_one_load(adapter: LoadedAdapter, fails: bool) -> None:
    cache = AdapterCache(1000)
    go, loads = threading.Event(), 0
    got: list[LoadedAdapter | str] = []

    def load() -> LoadedAdapter:
        nonlocal loads
        loads += 1
        go.wait()
        if fails:
            raise InputError("broken")
        return adapter

    def ask() -> None:
        try:
            got.append(cache.get("a", load))
        except InputError as error:
            got.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)  # for all to ask
    go.set()
    for thread in threads:
        thread.join()
    assert got == ["broken" if fails else adapter] * 8
    assert loads < 8 if fails else loads == 1  # who comes late, after a failure, loads again
