"""A site's folder: what is named, kept, swept, and on the disk before it counts."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import make_bundle, reseal
from tiny_swap import make_adapter, make_swap_bundle
from tune_stage import profile_of

from serve.adapters.registry import Registry
from serve.bundle import Bundle
from serve.delivery.archive import pack
from serve.delivery.keys import new_key, read_private
from serve.delivery.signature import sign
from serve.errors import Conflict, InputError, NotFound, SvfitError, TooLarge, UsageError
from serve.profile import beside, find
from serve.settings import Settings
from serve.site.history import DOCUMENT, Entry, History
from serve.site.install import bring_archive, bring_folder, carry_along, first_release
from serve.site.store import Site, read_history

LIMIT = 2**30


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`one` and `two` on one base, `merged`; each with its archive beside it."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {
        "one": make_swap_bundle(folder / "one"),
        "two": make_swap_bundle(folder / "two", (("alpha", 5), ("beta", 2))),
        "merged": make_bundle(folder / "merged"),
    }
    for name, path in made.items():
        pack(path, folder / f"{name}.zip")
    return made


def entry(number: int) -> Entry:
    return Entry(f"{number:064x}", "tiny", "2026-01-01T00:00:00+00:00", f"{number:032x}")


def put(site: Site, bundle: Path) -> Entry:
    made = site.entry(bring_folder(site, bundle, ()))
    site.install(made)
    site.sweep()
    return made


def test_a_first_release_takes_the_profile_beside_its_bundle_along(bundles: dict[str, Path], tmp_path: Path) -> None:
    bundle = Bundle.open(shutil.copytree(bundles["one"], tmp_path / "one"))
    tuned = profile_of(bundle, "fp32", Settings(1, spinning=False))
    tuned.write(beside(bundle.path))
    site = Site(tmp_path / "site", 3)
    made = first_release(site, bundle.path, ())
    assert find(Bundle.open(site.place(made.release))).profile == tuned
    site.sweep()
    assert find(Bundle.open(site.place(made.release))).profile == tuned
    site.close()


def test_history_installs_and_goes_back_and_forgets_what_was_left() -> None:
    history = History()
    for number in (1, 2, 3, 4):
        history = history.installed(entry(number), keep=3)
    assert [kept.release for kept in history.entries] == [entry(n).release for n in (4, 3, 2)]
    back = history.rolled_back()
    assert back.now == entry(3)
    assert back.entries == history.entries, "what was rolled back from stays until the next install"
    assert back.installed(entry(5), keep=3).entries == (entry(5), entry(3), entry(2))
    with pytest.raises(Conflict, match="no release before"):
        back.rolled_back().rolled_back()
    assert History().now is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": "other"}, "format"),
        ({"format_version": 2}, "site format 2"),
        ({"current": 1}, "current: 1, but 1 releases"),
        ({"current": -1}, "at least 0"),
        ({"more": 1}, "unknown key"),
        ({"releases": {}}, "must be a list"),
        ({"releases": [{"release": "../x", "name": "a", "at": "b", "state": "0" * 32}]}, "64 lower-case hex"),
        ({"releases": [{"release": "0" * 64, "name": "a", "at": "b", "state": "../../x"}]}, "32 lower-case hex"),
    ],
)
def test_a_site_document_that_is_wrong_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    value = {**History((entry(1),)).to_dict(), **change}
    (tmp_path / DOCUMENT).write_text(json.dumps(value))
    with pytest.raises(InputError, match=told) as caught:
        Site(tmp_path)
    assert str(tmp_path / DOCUMENT) in str(caught.value)


def test_a_site_is_one_process_and_no_folder_of_other_things(tmp_path: Path) -> None:
    with Site(tmp_path / "site"), pytest.raises(Conflict, match="another process has it"):
        Site(tmp_path / "site")
    Site(tmp_path / "site").close()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters").touch()
    with pytest.raises(UsageError, match=r"holds letters and no site\.json"):
        Site(tmp_path / "home")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letters"]
    with pytest.raises(NotFound, match="svfit serve --site"):
        read_history(tmp_path / "home")


def test_the_last_releases_are_kept_and_others_removed_unless_spared(tmp_path: Path, bundles: dict[str, Path]) -> None:
    with Site(tmp_path / "site", keep=2) as site:
        first = put(site, bundles["one"])
        second = put(site, bundles["two"])
        third = site.entry(bring_folder(site, bundles["merged"], ()))
        site.install(third)
        site.sweep(spare=[first])
        assert site.place(first.release).is_dir()
        (site.folder / "releases" / f"{first.release}.device.json").touch()
        (site.folder / "releases" / f"{second.release}.device.json").touch()
        site.sweep()
        kept = {third.release, second.release, f"{second.release}.device.json"}
        assert {path.name for path in (site.folder / "releases").iterdir()} == kept
        assert len(site.files()) == len(
            {file.sha256 for name in ("two", "merged") for file in Bundle.open(bundles[name]).manifest.files.values()}
        )


def test_what_a_killed_process_left_is_swept_when_a_site_is_opened(tmp_path: Path, bundles: dict[str, Path]) -> None:
    with Site(tmp_path / "site") as site:
        now = put(site, bundles["one"])
        left = [site.incoming / "x.zip", site.folder / ".site.json.abc", site.folder / "releases" / ("f" * 64)]
        for path in left:
            path.touch()
        (site.folder / "states" / ("e" * 32) / "adapters").mkdir(parents=True)
    with Site(tmp_path / "site") as site:
        assert not any(path.exists() for path in left)
        assert not any((site.folder / "states").iterdir())
        assert site.history.now == now


def test_every_file_is_on_the_disk_before_the_release_is_named(
    tmp_path: Path, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[tuple[int, int]] = set()
    checked = []
    sync, replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        status = os.fstat(handle)
        synced.add((status.st_dev, status.st_ino))
        sync(handle)

    def replacing(self: Path, target: Path) -> Path:
        if target.name == DOCUMENT:
            for folder in ("releases", "states"):
                found = list((site.folder / folder).rglob("*"))
                for path in (*found, *(site.folder / folder for _ in found[:1])):
                    status = path.stat()
                    assert (status.st_dev, status.st_ino) in synced, path
                    checked.append(path)
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replacing)
    with Site(tmp_path / "site") as site:
        first = first_release(site, bundles["one"], ())
        registry = Registry(Bundle.open(site.place(first.release)), site.state(first))
        registry.add("later", make_adapter(tmp_path / "later", 11))
        registry.close()
        bundle = bring_archive(site, bundles["two"].with_suffix(".zip"), (), LIMIT)
        new = site.entry(bundle)
        assert carry_along(site, first, new) == "1 adapter version that came later came along"
        own = (site.state(first), *site.state(first).rglob("*"))  # SQLite's files, which it syncs itself
        synced |= {(path.stat().st_dev, path.stat().st_ino) for path in own}
        site.install(new)
    assert len([path for path in checked if new.state in str(path)]) >= 5


def test_a_delta_is_completed_from_the_releases(tmp_path: Path, bundles: dict[str, Path]) -> None:
    with Site(tmp_path / "site") as site:
        first = put(site, bundles["one"])
        pack(bundles["two"], tmp_path / "delta.zip", without=site.files())
        assert (tmp_path / "delta.zip").stat().st_size < bundles["two"].with_suffix(".zip").stat().st_size
        bundle = bring_archive(site, tmp_path / "delta.zip", (), LIMIT)
        assert Bundle.open(bundle.path).manifest == Bundle.open(bundles["two"]).manifest
        shared = [path / "weights.safetensors" for path in (bundle.path, site.place(first.release))]
        assert shared[0].stat().st_ino == shared[1].stat().st_ino, "linked, not copied"
    with Site(tmp_path / "empty") as site, pytest.raises(InputError, match="leaves out"):
        bring_archive(site, tmp_path / "delta.zip", (), LIMIT)


def test_what_cannot_be_brought_leaves_nothing(tmp_path: Path, bundles: dict[str, Path]) -> None:
    archive = tmp_path / "broken.zip"
    data = bytearray(bundles["one"].with_suffix(".zip").read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    with Site(tmp_path / "site") as site:
        for path, limit, kind in ((archive, LIMIT, InputError), (bundles["one"].with_suffix(".zip"), 10, TooLarge)):
            with pytest.raises(kind):
                bring_archive(site, path, (), limit)
        (tmp_path / "pub").write_text("nothing\n")
        with pytest.raises(InputError):
            bring_archive(site, bundles["one"].with_suffix(".zip"), [tmp_path / "pub"], LIMIT)
        assert not any(site.incoming.iterdir())
        assert not any((site.folder / "releases").iterdir())


def test_a_release_that_was_damaged_is_replaced_and_one_that_was_not_takes_a_signature(
    tmp_path: Path, bundles: dict[str, Path]
) -> None:
    signed = tmp_path / "signed"
    shutil.copytree(bundles["one"], signed)
    new_key(tmp_path / "key", tmp_path / "pub")
    with Site(tmp_path / "site") as site:
        first = put(site, bundles["one"])
        place = site.place(first.release)
        number = place.stat().st_ino
        sign(signed, read_private(tmp_path / "key"))
        pack(signed, tmp_path / "signed.zip")
        bring_archive(site, tmp_path / "signed.zip", [tmp_path / "pub"], LIMIT)
        assert place.stat().st_ino == number
        assert (place / "signature.json").read_bytes() == (signed / "signature.json").read_bytes()
        (place / "tokenizer.json").write_text("{}")
        bring_archive(site, tmp_path / "signed.zip", [tmp_path / "pub"], LIMIT)
        Bundle.open(place)


def test_adapters_that_came_later_stay_where_the_base_is_another(tmp_path: Path, bundles: dict[str, Path]) -> None:
    other = tmp_path / "other"
    shutil.copytree(bundles["two"], other)
    reseal(other, basis_id="c" * 64)
    with Site(tmp_path / "site") as site:
        first = put(site, bundles["one"])
        nothing = site.entry(bring_folder(site, bundles["merged"], ()))
        assert carry_along(site, first, nothing) == "", "there were none"
        registry = Registry(Bundle.open(site.place(first.release)), site.state(first))
        registry.add("later", make_adapter(tmp_path / "later", 11))
        registry.add("later", make_adapter(tmp_path / "again", 12))
        registry.remove("beta")
        for name in ("other", "merged"):
            path = other if name == "other" else bundles[name]
            new = site.entry(site.put(Bundle.open(shutil.copytree(path, site.room() / "bundle"))))
            remark = carry_along(site, first, new)
            assert remark.startswith("2 adapter versions that came later stayed with the release before"), remark
            assert not site.state(new).exists()
        new = site.entry(bring_folder(site, bundles["two"], ()))
        assert carry_along(site, first, new) == "2 adapter versions that came later came along"
        registry.add("later", make_adapter(tmp_path / "third", 13))
        registry.close()
        registry = Registry(Bundle.open(site.place(new.release)), site.state(new))
        assert registry.names() == ["alpha", "later"], "what was removed stays so"
        assert [record.version for record in registry.versions("later")] == [1, 2]
        for version in (1, 2):
            registry.load(registry.resolve(f"later@{version}"))
        registry.close()


def test_a_full_disk_changes_nothing(tmp_path: Path, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with Site(tmp_path / "site") as site:
        first = put(site, bundles["one"])
        new = site.entry(bring_folder(site, bundles["two"], ()))
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(SvfitError, match=r"can't be written \(No space left"):
            site.install(new)
        with pytest.raises(SvfitError, match="No space left"):
            bring_archive(site, bundles["merged"].with_suffix(".zip"), (), LIMIT)
        monkeypatch.undo()
        assert site.history.now == first
        assert read_history(site.folder).now == first
        assert not any(site.incoming.iterdir())
