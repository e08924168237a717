"""Installs, rollbacks and sweeps of a site that are killed at every step on the file system, or at random times.

It imports nothing but `serve`, so that a process of its own starts quickly and may fork. Called with the bundles' and
archives' folders that `main` names, it prints what became of every kill, JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from killed import died, forked

from serve.adapters.registry import Registry
from serve.bundle import Bundle
from serve.site.install import bring_archive, carry_along, first_release
from serve.site.store import Site

STEPS = frozenset({"open", "os.rename", "os.mkdir", "os.link", "os.remove", "os.rmdir", "os.chmod", "sqlite3.connect"})
LIMIT = 2**30
Work = Callable[[Path], None]


class Killer:
    """`one` and `two` are bundles of the same base, with archives; `later` is an adapter that came later."""

    def __init__(self, folder: Path) -> None:
        self.one, self.two, self.later = folder / "one", folder / "two", folder / "later"
        self.archives = {name: folder / f"{name}.zip" for name in ("one", "two")}
        self.releases = {name: Bundle.open(folder / name).manifest.manifest_sha256 for name in ("one", "two")}
        self.saved, self.site = folder / "saved", folder / "site"

    def at_steps(self, before: Work, work: Work, goal: str, stride: int, first: int) -> dict[str, int]:
        """Kill `work` at every so many steps, from its opening to its end; `goal` is current where it has happened."""
        shutil.rmtree(self.saved, ignore_errors=True)
        before(self.saved)
        told = {"kills": 0, "before": 0, "after": 0}
        other = "one" if goal == "two" else "two"
        for step in range(first, 100_000, stride):
            shutil.rmtree(self.site, ignore_errors=True)
            shutil.copytree(self.saved, self.site)
            if not self._died(work, step):
                return told
            left = self.look()
            if left not in (goal, other):
                raise AssertionError(f"killed at step {step}: {left}")
            told["kills"] += 1
            told["after" if left == goal else "before"] += 1
            if left != goal:
                work(self.site)
                if self.look() != goal:
                    raise AssertionError(f"after a kill at step {step} it can't be done again")
        raise AssertionError("the work didn't end")

    def at_random(self, kills: int, seed: int) -> dict[str, int]:
        """Kill a process that installs and rolls back without end."""
        chance = random.Random(seed)  # noqa: S311
        shutil.rmtree(self.site, ignore_errors=True)
        self.begin(self.site)
        told = {"kills": 0, "one": 0, "two": 0}
        for _ in range(kills):
            read, write = os.pipe()
            pid = forked(lambda write=write: self._endless(write))
            os.close(write)
            os.read(read, 1)
            os.close(read)
            time.sleep(chance.uniform(0, 0.15))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            told["kills"] += 1
            told[self.look()] += 1
        return told

    def begin(self, folder: Path) -> None:
        """A site whose release is `one`, with an adapter that came later."""
        with Site(folder, keep=2) as site:
            entry = first_release(site, self.one, ())
            registry = Registry(Bundle.open(site.place(entry.release), check=False), site.state(entry))
            registry.add("later", self.later)
            registry.close()

    def both(self, folder: Path) -> None:
        """The same, and `two` installed."""
        self.begin(folder)
        self.install(folder, "two")

    def install(self, folder: Path, name: str, keep: int = 2) -> None:
        """Install an archive, as the server does."""
        with Site(folder, keep=keep) as site:
            bundle = bring_archive(site, self.archives[name], (), LIMIT)
            old, new = site.history.now, site.entry(bundle)
            if old is not None:
                carry_along(site, old, new)
            site.install(new)
            site.sweep()

    def roll_back(self, folder: Path) -> None:
        """Go back to the release before."""
        with Site(folder) as site:
            site.roll_back()

    def look(self) -> str:
        """The current release after the site is opened anew, complete, with its adapters, and nothing else about."""
        with Site(self.site, keep=2) as site:
            entry = site.history.now
            if entry is None:
                raise AssertionError("neither")
            for kept in site.history.entries:
                bundle = Bundle.open(site.place(kept.release))
            bundle = Bundle.open(site.place(entry.release))
            registry = Registry(bundle, site.state(entry))
            registry.load(registry.resolve("later"))
            for name in registry.names():
                registry.load(registry.resolve(name))
            registry.close()
            named = {kept.release for kept in site.history.entries}, {kept.state for kept in site.history.entries}
            for folder, names in zip(("releases", "states"), named, strict=True):
                there = {path.name for path in (self.site / folder).iterdir()}
                if not there <= names:
                    raise AssertionError(f"{folder} holds {there - names}")
            if any(site.incoming.iterdir()) or list(self.site.glob(".*")):
                raise AssertionError("something half done is left")
            return next(name for name, release in self.releases.items() if release == entry.release)

    def _endless(self, write: int) -> None:
        os.write(write, b".")
        while True:
            self.install(self.site, "two")
            self.roll_back(self.site)
            self.install(self.site, "one", keep=1)

    def _died(self, work: Work, step: int) -> bool:
        def counted() -> None:
            left = step
            sync = os.fsync

            def count() -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            def watch(event: str, arguments: tuple[Any, ...]) -> None:
                if event in STEPS:
                    count()

            def synced(handle: int) -> None:
                count()
                sync(handle)

            os.fsync = synced
            sys.addaudithook(watch)
            work(self.site)

        return died(counted)


def main(folder: str, stride: str, kills: str) -> None:
    killer = Killer(Path(folder))
    every = int(stride)
    told = {
        "install": killer.at_steps(killer.begin, lambda site: killer.install(site, "two"), "two", every, 1),
        "install and remove": killer.at_steps(
            killer.both, lambda site: killer.install(site, "one", keep=1), "one", every, 2
        ),
        "roll back": killer.at_steps(killer.both, killer.roll_back, "one", 1, 1),
        "at random": killer.at_random(int(kills), seed=0),
    }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
