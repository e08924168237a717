"""`svfit predict`: answers for texts or images, a file of any size, or standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.output import common_options, counter
from pipeline.cli.predict_view import write_csv, write_table
from pipeline.cli.profile import profile_option
from pipeline.cli.trust import trust_option

if TYPE_CHECKING:
    from serve.adapters.listing import Pinned
    from serve.answers import Answer
    from serve.pieces import Row
    from serve.profile import Where
    from serve.runtime import Runtime

TABLE_ROWS = 50  # more rows than this go out as JSON lines unless a table is asked for
CHUNK = 16  # batches read ahead, so that rows of like length can share one


Shown = tuple["Row", dict[str, Any]]
"""A row, and what its answer calls it."""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--file", "source", metavar="FILE", help="CSV, TSV, JSON lines or text lines; - is stdin.")
@click.option("--text", "columns", metavar="COLUMN", multiple=True, help="Text column; twice for a pair.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "jsonl", "csv"]),
    help="How answers look. [default: a table for a few texts on a terminal, else jsonl]",
)
@click.option("--adapter", metavar="NAME[@VERSION]", help="Which adapter answers. [default: the bundle's own]")
@click.option("--variant", metavar="NAME", help="Which precision answers, fp32 or int8. [default: the bundle's]")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    default=16,
    show_default=True,
    help="Rows computed at once.",
)
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="CPU threads. [default: onnxruntime's choice]")
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="Show only the K likeliest labels.")
@profile_option
@trust_option
@common_options
def predict(
    bundle: Path,
    texts: tuple[str, ...],
    source: str | None,
    columns: tuple[str, ...],
    form: str | None,
    adapter: str | None,
    variant: str | None,
    batch_size: int,
    threads: int | None,
    top: int | None,
    profile: Where,
    trust: tuple[Path, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Answer from BUNDLE, a folder that `svfit run` made.

    Give texts, or --file, or pipe lines in. A bundle of pairs takes two texts, or lines with a tab between; one of
    images takes image files or folders, as arguments or as lines, or a file with a column of paths beside it.
    Put -- before a text that starts with a dash. --adapter chooses one that a swappable bundle has
    (`svfit adapter list BUNDLE`).

    \b
      svfit predict runs/tickets/bundle "the pump is leaking again"
      svfit predict runs/tickets/bundle --file rows.csv --text message > answers.jsonl
    """
    if as_json and form:
        raise click.UsageError("--json is a format of its own; leave out --format")
    if texts and source:
        raise click.UsageError("texts and --file can't be given both")
    if columns and (source is None or source == "-"):
        raise click.UsageError("--text names a column, so it needs --file with a CSV, TSV or JSON lines file")
    if not texts and source is None and sys.stdin.isatty():
        raise click.UsageError("nothing to answer: give a text, or --file FILE, or pipe lines in")

    from serve.delivery.signature import open_trusted
    from serve.profile import find
    from serve.runtime import Runtime

    opened = open_trusted(bundle, trust)
    found = find(opened, profile)
    if found.remark and not quiet:
        click.echo(found.remark, err=True)
    with Runtime(opened, variant=variant, threads=threads, profile=found.profile) as runtime:
        pinned = runtime.pin(adapter)
        wanted = pinned.loaded.texts
        rows = _rows(texts, source, columns, wanted) if wanted else _images(texts, source, columns)
        answers = _answers(runtime, pinned, rows, batch_size, top, quiet or bool(texts))
        head = {"bundle": runtime.bundle.manifest.name, "variant": runtime.variant.name}
        if runtime.bundle.manifest.swap is not None:
            head["adapter"] = pinned.tag
        _write(answers, head, as_json=as_json, form=form, few=bool(texts) and len(texts) <= TABLE_ROWS, top=top)


def _write(
    answers: Iterator[dict[str, Any]],
    head: dict[str, str],
    *,
    as_json: bool,
    form: str | None,
    few: bool,
    top: int | None,
) -> None:
    if as_json:
        _write_document(answers, head)
    elif form == "table" or (form is None and few and sys.stdout.isatty()):
        write_table(list(answers), top)
    elif form == "csv":
        write_csv(answers)
    else:
        for answer in answers:
            click.echo(json.dumps(answer, ensure_ascii=False))


def _rows(texts: tuple[str, ...], source: str | None, columns: tuple[str, ...], wanted: int) -> Iterator[Shown]:
    """Each row, and how its answer calls it."""
    from serve.rows import read_file, read_lines

    rows: Iterator[Row]
    if texts:
        if wanted == 2 and len(texts) % 2:
            raise click.UsageError(f"this bundle takes pairs: give two texts for each answer (got {len(texts)})")
        rows = iter(texts) if wanted == 1 else zip(texts[::2], texts[1::2], strict=True)
    elif source is None or source == "-":
        rows = read_lines(sys.stdin.buffer, wanted)
    else:
        rows = read_file(Path(source), wanted, columns)
    return ((row, {"text": list(row) if isinstance(row, tuple) else row}) for row in rows)


def _images(paths: tuple[str, ...], source: str | None, columns: tuple[str, ...]) -> Iterator[Shown]:
    """The same of images: files or folders, or lines or a column of their paths."""
    from serve.images.rows import image_rows
    from serve.rows import read_file, read_lines

    if paths:
        named: Iterator[Any] = iter(paths)
    elif source is None or source == "-":
        named = read_lines(sys.stdin.buffer, 1)
    else:
        named = (Path(source).parent / str(path) for path in read_file(Path(source), 1, columns))
    return ((data, {"image": path}) for path, data in image_rows(named))


def _answers(
    runtime: Runtime, pinned: Pinned, rows: Iterator[Shown], batch_size: int, top: int | None, quiet: bool
) -> Iterator[dict[str, Any]]:
    """Answers ready for JSON, in the order of the rows, a chunk of batches in memory at a time."""
    number = 0
    with counter("rows", quiet) as count:
        while chunk := list(islice(rows, batch_size * (CHUNK if pinned.loaded.texts else 1))):
            answers = runtime.predict([row for row, _ in chunk], pinned, batch_size)
            for (_, shown), given in zip(chunk, answers, strict=True):
                number += 1
                yield {"row": number, **shown, **_told(given, top)}
            count(len(chunk))


def _told(given: Answer, top: int | None) -> dict[str, Any]:
    from serve.tasks import task_of

    return task_of(given.task).told(given, top)


def _write_document(answers: Iterator[dict[str, Any]], about: dict[str, str]) -> None:
    """One JSON document, written as the answers come, so that its size doesn't matter either."""
    head = json.dumps(about, ensure_ascii=False)[:-1]
    before = opening = f'{head}, "predictions": [\n'
    for answer in answers:
        click.echo(before + json.dumps(answer, ensure_ascii=False), nl=False)
        before = ",\n"
    click.echo(f"{opening}]}}" if before == opening else "\n]}")
