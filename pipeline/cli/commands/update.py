"""`svfit update`: a new version of an adapter from new labelled rows."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from pipeline.cli.output import common_options, emit, progress_console, show
from pipeline.cli.summary import number


@click.command()
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=click.Path(path_type=Path), metavar="FILE", help="New labelled rows.")
@click.option(
    "--validation",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Old rows to measure forgetting on. [default: the run's validation rows]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="New folder. [default: the old name with -v2, -v3, ...]",
)
@click.option(
    "--replay",
    metavar="SHARE|FILE",
    help="Old rows to mix in: how many of the run's for each new one, or a file of them. [default: 1 of a run]",
)
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Passes over the rows. [default: 3]")
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="X",
    help="Of the singular values. [default: a third of the run's]",
)
@click.option(
    "--head-learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="X",
    help="Of the head. [default: a third of the run's]",
)
@click.option(
    "--max-forget",
    type=click.FloatRange(min=0),
    metavar="POINTS",
    help="Refuse, with code 4, to lose more points of the metric on the old rows.",
)
@click.option("--no-new-labels", is_flag=True, help="Refuse labels that the adapter doesn't know.")
@click.option(
    "--text",
    multiple=True,
    metavar="COLUMN",
    help="Column of the text; twice for a pair. [default: the run's, or text]",
)
@click.option("--label", metavar="COLUMN", help="Column of the label. [default: the run's, or label]")
@click.option(
    "--onto",
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Train for this swappable bundle, with the factors that it carries.",
)
@click.option("--seed", type=click.IntRange(min=0, max=2**32 - 1), metavar="N", help="[default: the run's, or 0]")
@common_options
def update(
    adapter: Path,
    replay: str | None,
    no_new_labels: bool,
    as_json: bool,
    quiet: bool,
    **wished: Any,
) -> None:
    """Go on training ADAPTER, an adapter's folder or a run's, on new rows, and write a new version beside it.

    Starts from what it had learned, on the same basis. A fifth of the new rows is held out; old and new validation rows
    are measured before and after. Labels that are new get rows of their own in the head.

    \b
      svfit update runs/tickets --data june.csv --max-forget 1
      svfit run runs/tickets-v2/tickets-v2.toml       its new bundle
      svfit adapter add site.bundle runs/tickets-v2 --name tickets
    """
    from pipeline.update import Wish
    from pipeline.update.update import update as go_on
    from pipeline.update.update import warning
    from serve.errors import GateError

    wish = Wish(adapter, replay=_replay(replay), new_labels=not no_new_labels, **wished)
    console = progress_console(quiet)
    document = go_on(wish, console)
    emit(document, as_json=as_json, render=_show)
    if document["refused"] is not None:
        raise GateError(document["refused"])
    told = warning(document)
    if told is not None:
        console.print(f"! {told}", markup=False, soft_wrap=True)


def _replay(text: str | None) -> float | Path | None:
    """A share of 0 or more, or else a file."""
    from serve.errors import UsageError

    if text is None:
        return None
    try:
        share = float(text)
    except ValueError:
        return Path(text)
    if not 0 <= share < float("inf"):
        raise UsageError(f"--replay {text}: a share is 0 or more, or name a file of old rows")
    return share


def _show(document: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    metric = document["metric"]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(metric.replace("_", "-"))
    for title in ("rows", "before", "after", "points"):
        table.add_column(title, justify="right")
    for name, title in (("old", "old validation"), ("new", "new, held out")):
        if name in document["metrics"]:
            found = document["metrics"][name]
            was, now = found["before"][metric], found["after"][metric]
            table.add_row(title, number(found["rows"]), f"{was:.4f}", f"{now:.4f}", f"{100 * (now - was):+.2f}")
    show(table)
    rows, labels = document["rows"], document["labels"]
    click.echo(
        f"rows     {number(rows['learned'])} new, {number(rows['replayed'])} old, {document['plan']['epochs']} epochs"
    )
    if labels["new"]:
        click.echo(f"labels   {number(labels['count'])}, new: {', '.join(labels['new'])}")
    for row in document["most_forgotten"]:
        click.echo(f"forgot   {row['label']}: {row['right_before']} right of {row['rows']}, now {row['right_after']}")
    if document["refused"] is not None:
        return
    click.echo(f"adapter  {document['adapter']}  (version {document['version']})")
    if document["config"] is not None:
        click.echo(f"next     {_next(document)}")
    else:
        click.echo(f"next     svfit adapter add BUNDLE {shlex.quote(document['adapter'])} --name NAME")


def _next(document: dict[str, Any]) -> str:
    """The command that makes the new version's bundle in its own folder."""
    run = Path(document["run"])
    usual = (Path("runs") / run.resolve().name).resolve() == run.resolve()
    output = "" if usual else f" --output {shlex.quote(document['run'])}"
    return f"svfit run {shlex.quote(document['config'])}{output}"
