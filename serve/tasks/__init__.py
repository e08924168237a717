"""What a bundle can be asked: a file for each task."""

from __future__ import annotations

from typing import Literal

from serve.tasks.task import Task
from serve.tasks.text_classification import TextClassification
from serve.tasks.text_regression import TextRegression

TaskName = Literal["text-classification", "text-regression"]

_ALL: dict[str, Task] = {task.name: task for task in (TextClassification(), TextRegression())}
TASKS = tuple(_ALL)


def task_of(name: str) -> Task:
    """A task by its name, which a manifest or an adapter's card holds. Raises KeyError for none of `TASKS`."""
    return _ALL[name]
