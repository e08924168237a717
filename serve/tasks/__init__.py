"""What a bundle can be asked: a file for each task."""

from __future__ import annotations

from typing import Literal

from serve.tasks.image_classification import ImageClassification
from serve.tasks.task import Task
from serve.tasks.text_classification import TextClassification
from serve.tasks.text_embedding import TextEmbedding
from serve.tasks.text_regression import TextRegression
from serve.tasks.token_classification import TokenClassification

TaskName = Literal[
    "text-classification", "text-regression", "token-classification", "text-embedding", "image-classification"
]

_ALL: dict[str, Task] = {
    task.name: task
    for task in (TextClassification(), TextRegression(), TextEmbedding(), TokenClassification(), ImageClassification())
}
TASKS = tuple(_ALL)


def task_of(name: str) -> Task:
    """A task by its name, which a manifest or an adapter's card holds. Raises KeyError for none of `TASKS`."""
    return _ALL[name]
