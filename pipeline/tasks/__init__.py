"""What can be learned: a file for each task, imported when it is needed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from pipeline.tasks.words import NAMES

if TYPE_CHECKING:
    from pipeline.config.schema import DataSection
    from pipeline.data import Dataset
    from pipeline.tasks.task import Task


def task_of(name: str) -> Task:
    """A task by the name that a card holds. Raises ModuleNotFoundError for none of `NAMES`."""
    found: Task = importlib.import_module(f"pipeline.tasks.{name.replace('-', '_')}").TASK
    return found


def read(data: DataSection, seed: int) -> Dataset:
    """The rows that a configuration names; `auto` are texts, whose labels say which task they are."""
    return task_of(NAMES["classification" if data.task == "auto" else data.task]).read(data, seed)
