"""Answers of `svfit predict` as CSV, or as a table on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.cli.output import show

if TYPE_CHECKING:
    from rich.text import Text

LIKELY = 3  # labels that a table tells, where nobody says how many
NUMBERS = 4  # of an embedding that a table tells

Told = dict[str, Any]
"""An answer ready for JSON: `row`, `text` or `image`, and what its task tells."""


def write_csv(answers: Iterator[Told]) -> None:
    """A header, then a line each; what is no single value is JSON within its column."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    for place, answer in enumerate(answers):
        parts = _parts(answer)
        result = _columns(answer)
        if place == 0:
            names = ["image" if "image" in answer else "text"] if len(parts) == 1 else ["text1", "text2"]
            writer.writerow(["row", *names, *result])
        writer.writerow([answer["row"], *parts, *result.values()])


def write_table(answers: list[Told], top: int | None) -> None:
    """A row each, with the `top` likeliest labels."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for place, answer in enumerate(answers):
        cells = _cells(answer, top or LIKELY)
        if place == 0:
            table.add_column("image" if "image" in answer else "text")
            for title in cells:
                table.add_column(title, justify="right" if title in ("value", "score") else "left")
        table.add_row(_short(" │ ".join(_parts(answer))), *cells.values())
    show(table)


def _columns(answer: Told) -> dict[str, Any]:
    if "value" in answer:
        return {"value": answer["value"]}
    listed = next((key for key in ("entities", "embedding") if key in answer), None)
    if listed is not None:
        return {listed: json.dumps(answer[listed], ensure_ascii=False)}
    return {"label": answer["label"], "score": answer["score"]}


def _cells(answer: Told, top: int) -> dict[str, str | Text]:
    from rich.text import Text

    if "value" in answer:
        return {"value": f"{answer['value']:.4f}"}
    if "entities" in answer:
        found = [f"{_plain(one['text'])} ({one['label']} {one['score']:.0%})" for one in answer["entities"]]
        return {"entities": Text(", ".join(found) or "none")}
    if "embedding" in answer:
        numbers = ", ".join(f"{number:.3f}" for number in answer["embedding"][:NUMBERS])
        return {"embedding": Text(f"{numbers}, … ({len(answer['embedding'])} numbers)")}
    then = ", ".join(f"{label} {share:.1%}" for label, share in list(answer["probabilities"].items())[1:top])
    return {"label": Text(answer["label"], style="bold"), "score": f"{answer['score']:.1%}", "then": Text(then)}


def _parts(answer: Told) -> list[str]:
    """What an answer calls its row: a text, two, or an image's path."""
    shown = answer["image"] if "image" in answer else answer["text"]
    return shown if isinstance(shown, list) else [shown]


def _short(text: str, width: int = 60) -> Text:
    from rich.text import Text

    plain = _plain(text)
    return Text(plain if len(plain) <= width else f"{plain[: width - 1]}…")


def _plain(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
