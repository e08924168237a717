"""Texts, or pairs of them, to numbers."""

from __future__ import annotations

from pipeline.tasks.text_classification import TextClassification


class TextRegression(TextClassification):
    """A number for each row."""

    name = "text-regression"


TASK = TextRegression()
