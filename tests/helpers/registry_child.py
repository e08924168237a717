"""Processes that write to a registry: some at once, and some that are killed on the way.

It imports nothing but `serve`, so that a process of its own starts quickly and may fork. Called with a swappable
bundle and two adapters' folders, it prints what became of every kill, JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from killed import died, forked

import serve.adapters.store
import serve.files
from serve.adapters.registry import Registry
from serve.bundle import Bundle
from serve.errors import Conflict, NotFound

Call = tuple[Any, ...]
"""A method of Registry and its arguments."""
FOLDER = Path(serve.adapters.store.__file__).parent
TRACED = {serve.files.__file__, *(str(FOLDER / f"{name}.py") for name in ("store", "contents", "registry"))}


def add_many(bundle: Path, adapter: Path, name: str) -> None:
    """Add ten versions, five of them of a name that others add to."""
    registry = Registry(Bundle.open(bundle, check=False))
    for _ in range(5):
        registry.add(name, adapter)
        registry.add("shared", adapter)
    registry.close()


class Killer:
    """Does calls in processes that are killed, and looks at what they left."""

    def __init__(self, bundle: Path, adapters: Sequence[Path], scratch: Path) -> None:
        self.bundle = Bundle.open(bundle)
        self.adapters = adapters
        self.state, self.saved, self.reference = (scratch / name for name in ("state", "saved", "reference"))

    def at_lines(self, before: Sequence[Call], call: Call, first: int, stride: int) -> dict[str, int]:
        """Kill a process at every so many lines, from its opening to its end; how often its call had happened."""
        shutil.rmtree(self.saved, ignore_errors=True)
        self._do(self.saved, before)
        old = self._look(self.saved)
        _copy(self.saved, self.reference)
        self._do(self.reference, [call])
        new = self._look(self.reference)
        told = {"kills": 0, "before": 0, "after": 0}
        for line in range(first, 10_000, stride):
            _copy(self.saved, self.state)
            if not died(lambda line=line: self._traced(call, line)):
                return told
            left = self._look(self.state)
            if left not in (old, new):
                raise AssertionError(f"{call} killed at line {line}: {left}, neither {old} nor {new}")
            told["kills"] += 1
            told["after" if left == new else "before"] += 1
            self._goes_on()
        raise AssertionError("the call didn't end")

    def at_random(self, kills: int, seed: int) -> dict[str, int]:
        """Kill a process that calls and calls, another one goes on with what it left; how often amid a call."""
        chance = random.Random(seed)  # noqa: S311
        calls, looks = self._sequence(chance, 60)
        told = {"kills": 0, "before": 0, "after": 0}
        shutil.rmtree(self.state, ignore_errors=True)
        done = 0
        while told["kills"] < kills:
            read, write = os.pipe()
            pid = forked(lambda done=done, write=write: self._report(calls[done:], write))
            os.close(write)
            os.read(read, 1)  # it has begun
            time.sleep(chance.uniform(0, 0.1))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            done += len(os.read(read, 1000))
            os.close(read)
            left = self._look(self.state)
            if left not in looks[done : done + 2]:
                raise AssertionError(f"after {done} calls: {left}, neither of {looks[done : done + 2]}")
            told["kills"] += 1
            told["before" if left == looks[done] else "after"] += 1
            done = looks.index(left, done)
            if done > len(calls) - 20:
                shutil.rmtree(self.state, ignore_errors=True)
                done = 0
        return told

    def _sequence(self, chance: random.Random, length: int) -> tuple[list[Call], list[Any]]:
        shutil.rmtree(self.reference, ignore_errors=True)
        names, looks = ("alpha", "beta", "gamma"), [self._look(self.reference)]
        calls: list[Call] = []
        while len(calls) < length:
            name, version = chance.choice(names), chance.randint(1, 4)
            call = chance.choice(
                [
                    ("add", name, chance.choice(self.adapters)),
                    ("remove", name),
                    ("remove", f"{name}@{version}"),
                    ("rename", name, chance.choice(names)),
                    ("set_default", name, version),
                    ("rollback", name),
                ]
            )
            try:
                self._do(self.reference, [call])
            except (Conflict, NotFound):
                continue
            look = self._look(self.reference)
            if look != looks[-1]:  # so that each state tells which call was the last
                calls.append(call)
                looks.append(look)
        return calls, looks

    def _report(self, calls: Sequence[Call], write: int) -> None:
        os.write(write, b".")
        registry = Registry(self.bundle, self.state)
        for method, *arguments in calls:
            getattr(registry, method)(*arguments)
            os.write(write, b".")
        signal.pause()

    def _traced(self, call: Call, line: int) -> None:
        left = line

        def count(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename not in TRACED:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return count

        sys.settrace(count)
        self._do(self.state, [call])
        sys.settrace(None)

    def _do(self, state: Path, calls: Sequence[Call]) -> None:
        registry = Registry(self.bundle, state)
        try:
            for method, *arguments in calls:
                getattr(registry, method)(*arguments)
        finally:
            registry.close()

    def _look(self, state: Path) -> Any:
        """What a registry has after it is opened anew; every version is loaded, which checks it against its hash."""
        registry = Registry(self.bundle, state)
        found: dict[str, Any] = {}
        for name, entry in registry.entries().items():
            for record in entry.versions.values():
                registry.load(record)
            contents = {str(version): record.sha256 for version, record in sorted(entry.versions.items())}
            found[name] = [entry.last, list(entry.defaults), contents]
        registry.close()
        return found

    def _goes_on(self) -> None:
        """The next to write can, and sweeps up."""
        registry = Registry(self.bundle, self.state)
        registry.add("after", self.adapters[0])
        used = {record.sha256 for name in registry.names() for record in registry.versions(name) if not record.sealed}
        registry.close()
        on_disk = {path.name for path in (self.state / "adapters").iterdir()}
        if on_disk != used:
            raise AssertionError(f"on disk {on_disk}, used {used}")


def _copy(state: Path, to: Path) -> None:
    shutil.rmtree(to, ignore_errors=True)
    if state.exists():
        shutil.copytree(state, to)


def main(bundle: str, one: str, two: str, scratch: str, stride: str) -> None:
    first, second = Path(one), Path(two)
    killer = Killer(Path(bundle), (first, second), Path(scratch))
    some: list[Call] = [("add", "alpha", first), ("add", "gamma", second), ("add", "gamma", first)]
    cases: dict[str, tuple[Sequence[Call], Call]] = {
        "first add": ([], ("add", "gamma", first)),
        "add": ([("add", "alpha", second)], ("add", "gamma", first)),
        "add a version": (some, ("add", "alpha", second)),
        "remove": (some[:2], ("remove", "gamma")),
        "remove a version": ([*some, ("set_default", "gamma", 2)], ("remove", "gamma@1")),
        "remove a sealed one": ([], ("remove", "beta")),
        "rename": (some, ("rename", "gamma", "delta")),
        "set the default": (some, ("set_default", "gamma", 1)),
        "roll back": (some, ("rollback", "gamma")),
    }
    told = {
        name: killer.at_lines(before, call, first=1 + place, stride=int(stride))  # others' lines in each case
        for place, (name, (before, call)) in enumerate(cases.items())
    }
    told["at random"] = killer.at_random(20, seed=0)
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
