from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from registry_child import add_many
from tiny_bundle import make_bundle
from tiny_swap import KEPT, make_adapter, make_swap_bundle, tiny_delta

from serve.adapters.registry import Registry
from serve.bundle import Bundle
from serve.errors import BusyError, Conflict, InputError, NotFound, SvfitError, UsageError


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(make_swap_bundle(tmp_path / "bundle"))


@pytest.fixture
def registry(bundle: Bundle) -> Iterator[Registry]:
    registry = Registry(bundle)
    yield registry
    registry.close()


@pytest.fixture
def other(bundle: Bundle) -> Iterator[Registry]:
    """Another process's view, as far as SQLite can tell."""
    registry = Registry(bundle)
    yield registry
    registry.close()


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "one", 11)


def seed_of(registry: Registry, ref: str) -> int:
    """Which of the seeds below 40 an adapter was made from."""
    sigma = registry.load(registry.resolve(ref)).sigma
    return next(seed for seed in range(40) if np.array_equal(sigma[: len(KEPT)], tiny_delta(seed)["first"][list(KEPT)]))


def refs(registry: Registry) -> list[str]:
    return [record.ref for name in registry.names() for record in registry.versions(name)]


def content(bundle: Bundle) -> set[str]:
    return {path.name for path in (bundle.path / "state" / "adapters").iterdir()}


def test_sealed_adapters_are_version_one_and_nothing_is_written(bundle: Bundle, registry: Registry) -> None:
    assert refs(registry) == ["alpha@1", "beta@1"]
    record = registry.resolve("beta")
    assert (record.sealed, record.folder, record.at) == (True, bundle.path / "adapters/beta", "2026-01-01T00:00:00Z")
    assert record.summary == {
        "task": "text-classification",
        "labels": ["hvac", "plumbing", "other"],
        "metrics": {"accuracy": 0.5},
        "trained": {"adapter": 32},
        "dropped": 0.0,
        "head": "default",
    }
    assert seed_of(registry, "beta") == 2
    assert not (bundle.path / "state").exists()


def test_what_is_added_is_the_next_version_and_the_default(
    bundle: Bundle, registry: Registry, adapter: Path, tmp_path: Path
) -> None:
    record = registry.add("alpha", adapter)
    assert (record.ref, record.sealed) == ("alpha@2", False)
    assert registry.resolve("alpha") == record == registry.resolve("alpha@2")
    assert registry.resolve("alpha@1").sealed
    again = make_adapter(tmp_path / "two", 12)
    files = ((again / "adapter.json").read_bytes(), (again / "adapter.safetensors").read_bytes())
    assert registry.add("new.one", files).ref == "new.one@1"
    assert [seed_of(registry, ref) for ref in ("alpha@1", "alpha@2", "new.one")] == [1, 11, 12]
    Bundle.open(bundle.path)  # still sealed: the state is no part of it


def test_the_state_outlives_the_process(bundle: Bundle, registry: Registry, adapter: Path) -> None:
    registry.add("alpha", adapter)
    registry.add("gamma", adapter)
    registry.rename("beta", "delta")
    registry.close()
    again = Registry(bundle)
    assert again.entries() == registry.entries()
    assert refs(again) == ["alpha@1", "alpha@2", "delta@1", "gamma@1"]
    again.close()
    registry.close()


def test_another_folder_can_keep_the_state(bundle: Bundle, adapter: Path, tmp_path: Path) -> None:
    registry = Registry(bundle, tmp_path / "elsewhere" / "deep")
    registry.add("gamma", adapter)
    registry.close()
    assert not (bundle.path / "state").exists()
    assert Registry(bundle).names() == ["alpha", "beta"]


def test_others_see_a_change_at_once(registry: Registry, other: Registry, adapter: Path) -> None:
    assert other.names() == ["alpha", "beta"]
    registry.add("gamma", adapter)
    assert other.resolve("gamma").ref == "gamma@1"
    other.add("gamma", adapter)
    assert registry.resolve("gamma").ref == "gamma@2"
    registry.remove("gamma")
    with pytest.raises(NotFound):
        other.resolve("gamma")
    other.rename("alpha", "omega")
    assert refs(registry) == ["beta@1", "omega@1"]


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "a/b", "../x", "a@1", "ä", "x" * 65, "a\n"])
def test_a_name_that_can_not_be_one_is_refused(bundle: Bundle, registry: Registry, adapter: Path, name: str) -> None:
    with pytest.raises(InputError, match="a name is 1 to 64"):
        registry.add(name, adapter)
    with pytest.raises(InputError, match="a name is 1 to 64"):
        registry.rename("alpha", name)
    assert not (bundle.path / "state").exists()


@pytest.mark.parametrize(
    "ref", ["", "@", "@1", "alpha@", "alpha@0", "alpha@01", "alpha@x", "alpha@1@1", "alpha@-1", "nothing"]
)
def test_a_reference_to_nothing_is_told(registry: Registry, ref: str) -> None:
    with pytest.raises(NotFound):
        registry.resolve(ref)


def test_what_there_is_is_told(registry: Registry, adapter: Path) -> None:
    with pytest.raises(NotFound, match="no adapter 'alhpa'; there are: alpha, beta"):
        registry.resolve("alhpa")
    with pytest.raises(NotFound, match="alpha: no version 7; its last are: 1"):
        registry.resolve("alpha@7")
    for place in range(10):
        registry.add(f"more{place}", adapter)
    with pytest.raises(NotFound, match=r"there are 12; did you mean alpha\?"):
        registry.resolve("alhpa")


def test_what_does_not_fit_is_refused_before_anything_is_kept(
    bundle: Bundle, registry: Registry, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="was trained on basis cccc"):
        registry.add("alpha", make_adapter(tmp_path / "x", basis_id="c" * 64))
    with pytest.raises(InputError, match="adapter alpha"):
        registry.add("alpha", (b"{}", b""))
    assert not (bundle.path / "state").exists()
    registry.add("alpha", adapter)
    with pytest.raises(InputError):
        registry.add("alpha", (b"{}", b""))
    assert registry.resolve("alpha").ref == "alpha@2"
    assert len(content(bundle)) == 1


def test_a_failure_on_the_way_leaves_the_old_version(
    bundle: Bundle, registry: Registry, other: Registry, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add("alpha", adapter)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SvfitError, match=r"No space left on device.*--state DIR"):
            registry.add("alpha", bundle.path / "adapters" / "beta")
    assert registry.resolve("alpha").ref == "alpha@2"
    assert registry.add("alpha", bundle.path / "adapters" / "beta").ref == "alpha@3"  # and its lock is free
    assert other.add("alpha", adapter).ref == "alpha@4"
    assert len(content(bundle)) == 2  # the second to open for writing swept up what had been left


def test_the_default_can_be_moved_and_rolled_back(registry: Registry, adapter: Path) -> None:
    for _ in range(2):
        registry.add("alpha", adapter)
    assert registry.set_default("alpha", 1).ref == "alpha@1"
    assert registry.set_default("alpha", 1).ref == "alpha@1"  # no second entry in its history
    assert [registry.rollback("alpha").ref for _ in range(3)] == ["alpha@3", "alpha@2", "alpha@1"]
    with pytest.raises(Conflict, match="alpha@1: no default before it"):
        registry.rollback("alpha")
    assert registry.resolve("alpha").ref == "alpha@1"
    with pytest.raises(NotFound, match="no version 9"):
        registry.set_default("alpha", 9)
    for call in (lambda: registry.rollback("none"), lambda: registry.set_default("none", 1)):
        with pytest.raises(NotFound):
            call()


def test_rolling_back_passes_over_what_was_removed(registry: Registry, adapter: Path) -> None:
    for _ in range(2):
        registry.add("alpha", adapter)
    registry.remove("alpha@2")
    assert registry.rollback("alpha").ref == "alpha@1"


def test_the_default_of_several_is_not_removed(registry: Registry, adapter: Path) -> None:
    registry.add("alpha", adapter)
    with pytest.raises(Conflict, match=r"alpha@2: is the default .* make another the default first \(there are: 1\)"):
        registry.remove("alpha@2")
    registry.set_default("alpha", 1)
    assert [record.ref for record in registry.remove("alpha@2")] == ["alpha@2"]
    assert [record.ref for record in registry.remove("alpha@1")] == ["alpha@1"]  # the last one goes
    assert registry.names() == ["beta"]
    with pytest.raises(NotFound):
        registry.remove("alpha")


def test_a_version_is_never_given_twice(bundle: Bundle, registry: Registry, adapter: Path) -> None:
    registry.add("alpha", adapter)
    assert [record.ref for record in registry.remove("alpha")] == ["alpha@1", "alpha@2"]
    assert registry.add("alpha", adapter).ref == "alpha@3"
    registry.remove("alpha")
    registry.close()
    again = Registry(bundle)
    assert again.names() == ["beta"]
    assert again.rename("beta", "alpha").ref == "alpha@4"
    assert again.add("beta", adapter).ref == "beta@2"
    again.close()


def test_a_name_can_be_changed_with_its_versions_and_default(registry: Registry, adapter: Path) -> None:
    registry.add("alpha", adapter)
    registry.set_default("alpha", 1)
    assert registry.rename("alpha", "omega").ref == "omega@1"
    assert refs(registry) == ["beta@1", "omega@1", "omega@2"]
    assert registry.rollback("omega").ref == "omega@2"
    assert [seed_of(registry, ref) for ref in ("omega@1", "omega@2")] == [1, 11]
    for new in ("beta", "omega"):
        with pytest.raises(Conflict, match="there is one already"):
            registry.rename("omega", new)
    with pytest.raises(NotFound):
        registry.rename("alpha", "x")


def test_the_bundles_own_adapter_is_what_answers_unasked(registry: Registry, adapter: Path) -> None:
    assert registry.default().ref == "alpha@1"
    registry.add("alpha", adapter)
    assert registry.default().ref == "alpha@2"
    registry.rename("alpha", "omega")
    assert registry.default().ref == "omega@2"
    registry.remove("omega")
    with pytest.raises(NotFound, match="must be named; there are: beta"):
        registry.default()


def test_content_leaves_the_disk_with_its_last_version(bundle: Bundle, registry: Registry, adapter: Path) -> None:
    registry.add("one", adapter)
    registry.add("two", adapter)
    assert len(content(bundle)) == 1  # kept once
    registry.remove("one")
    assert seed_of(registry, "two") == 11
    registry.remove("two")
    assert content(bundle) == set()


def test_what_a_killed_process_left_is_swept_up_and_nothing_else(
    bundle: Bundle, registry: Registry, other: Registry, adapter: Path
) -> None:
    kept = registry.add("one", adapter).sha256
    folder = bundle.path / "state" / "adapters"
    for name in (".new-1234", "e" * 64, "a friend's"):
        shutil.copytree(folder / kept, folder / name)
    other.add("two", adapter)
    assert content(bundle) == {kept, "a friend's"}


def test_content_in_pieces_is_replaced(bundle: Bundle, registry: Registry, adapter: Path) -> None:
    record = registry.add("one", adapter)
    (record.folder / "adapter.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match=r"one@1: its files in .* were changed; add it again"):
        registry.load(record)
    (record.folder / "adapter.safetensors").unlink()
    with pytest.raises(InputError, match="can't be read"):
        registry.load(record)
    registry.add("one", adapter)
    assert seed_of(registry, "one@1") == seed_of(registry, "one@2") == 11


def test_loading_what_was_removed_meanwhile_is_not_found(registry: Registry, adapter: Path) -> None:
    record = registry.add("one", adapter)
    registry.remove("one")
    with pytest.raises(NotFound):
        registry.load(record)


def test_a_sealed_file_that_was_changed_is_refused(bundle: Bundle, registry: Registry) -> None:
    record = registry.resolve("alpha")
    shutil.copy(bundle.path / "adapters/beta/adapter.safetensors", record.folder)
    with pytest.raises(InputError, match=r"alpha@1: its files .* were changed"):
        registry.load(record)


def test_a_new_bundle_brings_its_own_adapters_to_an_old_state(tmp_path: Path, adapter: Path) -> None:
    state = tmp_path / "state"
    first = Registry(Bundle.open(make_swap_bundle(tmp_path / "first", (("alpha", 1), ("beta", 2)))), state)
    first.add("gamma", adapter)
    first.remove("beta")
    first.close()
    sealed = (("alpha", 3), ("beta", 2), ("gamma", 4))
    second = Registry(Bundle.open(make_swap_bundle(tmp_path / "second", sealed)), state)
    wanted = ["alpha@2", "gamma@1", "gamma@2"]  # beta's content was removed before
    assert refs(second) == wanted
    assert [seed_of(second, ref) for ref in wanted] == [3, 11, 4]
    second.set_default("gamma", 1)
    assert refs(second) == wanted
    second.close()


def test_a_merged_bundle_has_no_registry(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'is merged and takes no adapters; export with export\.mode = "swappable"'):
        Registry(Bundle.open(make_bundle(tmp_path / "merged")))


def test_a_state_of_a_newer_svfit_is_not_touched(bundle: Bundle, registry: Registry, adapter: Path) -> None:
    registry.add("one", adapter)
    registry.close()
    database = sqlite3.connect(bundle.path / "state" / "registry.sqlite")
    database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(SvfitError, match="of format 2, this svfit reads 1"):
        Registry(bundle)
    assert len(content(bundle)) == 1


def test_a_state_that_is_no_database_is_told(bundle: Bundle) -> None:
    (bundle.path / "state").mkdir()
    (bundle.path / "state" / "registry.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(SvfitError, match=r"registry\.sqlite: can't be read"):
        Registry(bundle)


def test_a_state_that_can_not_be_written_is_told_and_still_read(
    bundle: Bundle, registry: Registry, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add("one", adapter)
    registry.close()
    monkeypatch.setattr(os, "access", lambda *_: False)  # as on a file system that is read-only, for root too
    reader = Registry(bundle)
    assert refs(reader) == ["alpha@1", "beta@1", "one@1"]
    assert seed_of(reader, "one") == 11
    reader.close()
    assert sorted(path.name for path in (bundle.path / "state").iterdir()) == ["adapters", "registry.sqlite"]
    blocked = bundle.path.parent / "a-file"
    blocked.write_text("")
    with pytest.raises(SvfitError, match=r"can't be written.*--state DIR"):
        Registry(bundle, blocked / "state").add("one", adapter)


def test_who_waits_too_long_for_another_process_is_told(
    bundle: Bundle, registry: Registry, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add("one", adapter)
    registry.close()
    holder = sqlite3.connect(bundle.path / "state" / "registry.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("serve.adapters.store.WAIT", 0.05)
    with pytest.raises(BusyError, match="another process has kept it") as caught:
        registry.add("one", adapter)
    assert caught.value.retry_after > 0
    assert registry.resolve("one").ref == "one@1"  # reading doesn't wait
    holder.close()
    assert registry.add("one", adapter).ref == "one@2"


def test_reading_goes_on_while_another_writes(bundle: Bundle, registry: Registry, adapter: Path) -> None:
    registry.add("one", adapter)
    holder = sqlite3.connect(bundle.path / "state" / "registry.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert registry.resolve("one").ref == "one@1"
    holder.close()


def test_threads_that_add_and_ask_at_once_are_all_served(registry: Registry, adapter: Path) -> None:
    errors: list[BaseException] = []

    def work(place: int) -> None:
        try:
            for turn in range(5):
                assert registry.add(f"own{place}", adapter).version == turn + 1
                assert registry.resolve(f"own{place}").version == turn + 1
                registry.add("shared", adapter)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [record.version for record in registry.versions("shared")] == list(range(1, 21))


def test_processes_that_add_at_once_all_succeed(bundle: Bundle, registry: Registry, adapter: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=add_many, args=(bundle.path, adapter, f"own{place}")) for place in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert [len(registry.versions(name)) for name in ("own0", "own1", "own2", "shared")] == [5, 5, 5, 15]


def test_ten_thousand_adapters_open_and_resolve_quickly(bundle: Bundle, registry: Registry, adapter: Path) -> None:
    record = registry.add("one", adapter)
    registry.close()
    database = sqlite3.connect(bundle.path / "state" / "registry.sqlite")
    names = [f"task-{place:05d}" for place in range(10_000)]
    database.executemany(
        "INSERT INTO versions VALUES (?, 1, ?, NULL, ?, ?)",
        [(n, record.sha256, record.at, record.about) for n in names],
    )
    database.executemany("INSERT INTO names VALUES (?, 1, '[1]', ?)", [(n, 10 + i) for i, n in enumerate(names)])
    database.commit()
    database.close()
    start = time.perf_counter()
    many = Registry(bundle)
    opened = time.perf_counter() - start
    assert len(many.names()) == 10_003
    seconds = []
    for name in names[:1000]:
        start = time.perf_counter()
        many.resolve(name)
        seconds.append(time.perf_counter() - start)
    seconds.sort()
    many.close()
    assert opened < 5
    assert seconds[500] < 200e-6  # measured 10 µs; leaves room for a machine that is busy otherwise


@pytest.mark.parametrize("name", ["elsewhere", "adapters/mine"])
def test_a_state_folder_among_what_was_sealed_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    folder = make_swap_bundle(tmp_path / "sealed")
    with pytest.raises(UsageError, match="is in the bundle, which holds only what was sealed"):
        Registry(Bundle.open(folder), folder / name)
    assert not (folder / name).exists()
    Registry(Bundle.open(folder), folder / "state").close()
