"""`svfit tune`: the variant and the settings that answer best on this machine, found by measuring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.output import common_options, emit, progress_console, show
from pipeline.cli.trust import trust_option

if TYPE_CHECKING:
    from serve.tune.candidate import Measured

SHOWN = 24  # rows of the table; --json has all
OFF = {"arena": "arena", "mem_pattern": "pattern", "spinning": "spinning", "prepacking": "prepacking"}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--max-ms", type=float, metavar="MS", help="99 of 100 single rows must be answered within this.")
@click.option(
    "--max-mb", type=float, metavar="MB", help="Memory of the process must stay below this, also at its peak."
)
@click.option(
    "--min-accuracy",
    type=float,
    metavar="SHARE",
    help="Accuracy that the bundle tells, such as 0.93; of entities F1, of embeddings Spearman or MRR@10.",
)
@click.option("--seconds", type=float, default=60.0, show_default=True, metavar="S", help="How long to try.")
@click.option("--sweep", is_flag=True, help="Try every combination, however long it takes.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write the profile. [default: BUNDLE.device.json]",
)
@trust_option
@common_options
def tune(
    bundle: Path,
    max_ms: float | None,
    max_mb: float | None,
    min_accuracy: float | None,
    seconds: float,
    sweep: bool,
    out: Path | None,
    trust: tuple[Path, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Find how BUNDLE answers best on this machine, and write it down for `serve` and `predict`.

    Variants, threads and memory settings are tried on the bundle's own samples, each in a process of its own; a
    variant that answers otherwise here than where it was made is out. Memory is that of `svfit serve` with batches of
    16. Run it while nothing else runs. Exit code 5 where nothing keeps every wish; then no profile is written.

    \b
      svfit tune site.bundle --max-ms 15 --max-mb 150
      svfit serve site.bundle
    """
    from serve.delivery.signature import open_trusted
    from serve.profile import beside
    from serve.tune.choice import Wishes
    from serve.tune.tune import tune as search

    wishes = Wishes(max_ms, max_mb, min_accuracy)
    opened = open_trusted(bundle, trust)
    with progress_console(quiet or as_json).status(f"trying {bundle}") as status:
        visits = 0

        def told(measured: Measured) -> None:
            nonlocal visits
            visits += 1
            status.update(f"{visits} measured, last {measured.candidate}")

        tuned = search(opened, wishes, seconds=seconds, sweep=sweep, on_visit=told)
    path: Path | None = None
    if tuned.chosen is not None:
        path = out or beside(bundle)
        tuned.profile().write(path)
    emit({**tuned.to_dict(), "profile": path}, as_json=as_json, render=_show)
    tuned.require()


def _show(document: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    candidates = _sorted(document)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title, side in (
        ("variant", "left"),
        ("threads", "right"),
        ("turned off", "left"),
        ("p50 ms", "right"),
        ("p99 ms", "right"),
        ("rows/s", "right"),
        ("CPU ms", "right"),
        ("MB at rest", "right"),
        ("MB peak", "right"),
        (candidates[0]["metric"].replace("_", "-"), "right"),
        ("", "left"),
    ):
        table.add_column(title, justify="right" if side == "right" else "left")
    for one in candidates[:SHOWN]:
        verdict, style = _verdict(one, document)
        off = ", ".join(told for name, told in OFF.items() if not one[name]) or "–"
        accuracy = "–" if one["accuracy"] is None else f"{one['accuracy']:.2%}"
        table.add_row(
            *(Text(cell, style=style) for cell in (one["variant"], str(one["threads"]), off)),
            *_numbers(one),
            accuracy,
            Text(verdict, style=style),
        )
    lines = []
    if len(candidates) > SHOWN:
        lines.append(f"and {len(candidates) - SHOWN} more, all worse; --json has them")
    lines += [f"The rule: {document['rule']}.", *(f"Note: {remark}." for remark in document["remarks"])]
    if document["profile"] is not None:
        lines.append(
            f"{document['profile']}: `svfit serve` and `svfit predict` use it for this bundle on this machine."
        )
    show(table, *map(Text, lines))


def _sorted(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The choice first, then what keeps the wishes, then what doesn't, then what can't be used; each by p50."""
    first = _same_as(document["chosen"] or document["nearest"])

    def key(one: dict[str, Any]) -> tuple[bool, bool, bool, float]:
        return not first(one), bool(one["problem"]), not one["keeps"], one.get("p50_ms", 0.0)

    return sorted(document["candidates"], key=key)


def _same_as(chosen: dict[str, Any] | None) -> Any:
    names = ("variant", "threads", *OFF)
    return lambda one: chosen is not None and all(one[name] == chosen[name] for name in names)


def _verdict(one: dict[str, Any], document: dict[str, Any]) -> tuple[str, str]:
    if one["problem"]:
        return one["problem"], "red"
    if _same_as(document["chosen"])(one):
        return "chosen", "bold green"
    if document["chosen"] is None and _same_as(document["nearest"])(one):
        return "nearest", "bold"
    return ("", "") if one["keeps"] else ("misses a wish", "dim")


def _numbers(one: dict[str, Any]) -> list[str]:
    if one["problem"]:
        return ["–"] * 6
    memory = ["–" if one[name] is None else f"{one[name]:.0f}" for name in ("resident_mb", "peak_mb")]
    return [
        f"{one['p50_ms']:.2f}",
        f"{one['p99_ms']:.2f}",
        f"{one['rows_per_second']:.0f}",
        f"{one['cpu_ms']:.2f}",
        *memory,
    ]
