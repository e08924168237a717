"""What `svfit inspect` shows of a model, an adapter and a bundle, as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from pipeline.cli.output import show
from pipeline.cli.summary import number, print_summary, size

WIDTH = 100
MARKS = {True: "+", False: "!", None: "·"}


def show_model(document: dict[str, Any]) -> None:
    rows = document["layers"]
    ranks = list(dict.fromkeys(r for row in rows for r in row["energy"]))
    chosen = document["rank"] != "full"
    table = _table(
        "layer", "shape", "s max", "min", *(f"E({r})" for r in ranks), "eff. rank", "r 90%", "r 99%", "random"
    )
    if chosen:
        table.add_column(f"rank {document['rank']}", justify="right")
    for row in rows:
        cells = [row["name"], "×".join(map(str, row["shape"]))]
        cells += [number(row[key]) for key in ("max", "min")]
        cells += [_share(row["energy"].get(r)) for r in ranks]
        cells += [_rounded(row["effective_rank"]), *(number(r) for r in row["rank_for"].values())]
        cells.append(f"{row['random']['rank_for']['0.9']}{' flat' if row['flat'] else ''}")
        table.add_row(*cells, *([f"{row['rank']} ({_share(row['captured'])})"] if chosen else []))
    show(table)
    click.echo("E(r): share of the energy in the top r; random: r 90% of a random matrix of the shape")
    if document["outputs"]:
        show(_cuts(document["outputs"]))
        click.echo(
            "kept with the top r of each weight, from 0% (these weights left out) to 100% (the model as it is); "
            "in brackets: with r by lot"
        )
    click.echo()
    for finding in document["guidance"]["findings"]:
        _paragraph(MARKS[finding["holds"]], finding["text"])
    click.echo()
    guidance = document["guidance"]
    click.echo(f"adapter.rank = {_setting(guidance['rank'])}")
    _paragraph(" ", guidance["reason"])
    if guidance["rank_by_kind"]:
        told = ", ".join(f"{kind} {rank}" for kind, rank in guidance["rank_by_kind"].items())
        _paragraph(" ", f"By kind, each cut alone to keep 90%: {told}.")
    click.echo(
        f"{len(rows)} weights, {document['values']:,} singular values at rank {document['rank']}"
        f"  (basis {document['basis_id'][:12]}, pooling {document['pooling']})"
    )


def _cuts(outputs: Mapping[str, Any]) -> Any:
    table = _table(f"outputs of {outputs['texts']} texts", "layers", *(f"r = {rank}" for rank in outputs["ranks"]))
    found = {(cut["group"], cut["rank"], cut["way"]): cut["kept"] for cut in outputs["cuts"]}
    for group, layers in outputs["groups"].items():
        cells = []
        for rank in outputs["ranks"]:
            chance = found.get((group, rank, "random"))
            bracket = "" if chance is None else f" ({_whole_share(chance)})"
            cells.append(_whole_share(found[group, rank, "top"]) + bracket)
        table.add_row("whole model" if group == "all" else group, str(layers), *cells)
    return table


def _paragraph(mark: str, text: str) -> None:
    import textwrap

    click.echo(textwrap.fill(text, WIDTH, initial_indent=f"{mark} ", subsequent_indent="  ", break_on_hyphens=False))


def _setting(rank: int | str) -> str:
    return f'"{rank}"' if isinstance(rank, str) else str(rank)


def show_adapter(document: dict[str, Any]) -> None:
    card = document["card"]
    facts = {key: card[key] for key in ("name", "task", "labels", "base", "pooling", "metrics") if card.get(key)}
    what = "singular values" if document["core"] == "diagonal" else f"values of a {document['core']} core"
    values = f"{document['values']:,} {what}, {_whole(document['whole']):,} in modules trained whole"
    print_summary({**facts, "basis_id": document["basis_id"], "values": values, "size": size(document["bytes"])})
    turns = any("off_diagonal" in row for row in document["layers"])
    table = _table("layer", "shape", "rank", "moved", "rms", "max", "relative", *(["off diagonal"] if turns else []))
    for row in document["layers"]:
        shape = "×".join(map(str, row["shape"]))
        moved = [number(row[key]) for key in ("rank", "moved", "delta_rms", "delta_max")]
        table.add_row(
            row["name"], shape, *moved, f"{row['relative']:.2%}", *([_share(row["off_diagonal"])] if turns else [])
        )
    table.add_section()
    table.add_row("all", "", "", "", number(document["delta_rms"]), number(document["delta_max"]), "")
    most = _table("moved most", "index", "was", "became", "change")
    for entry in document["top"]:
        change = entry["became"] - entry["was"]
        most.add_row(
            entry["layer"], str(entry["index"]), number(entry["was"]), number(entry["became"]), f"{change:+.4g}"
        )
    show(table, most)


def show_bundle(document: dict[str, Any]) -> None:
    shown = ("name", "task", "labels", "base", "basis_id", "adapter", "measured_on", "created")
    print_summary({**{key: document[key] for key in shown}, "size": size(document["bytes"])})
    table = _table("variant", "precision", "size", "metrics", "parity", "latency", "kept in fp32")
    for variant in document["variants"]:
        table.add_row(
            variant["name"] + (" (default)" if variant["default"] else ""),
            variant["precision"],
            size(variant["bytes"]),
            *(_pairs(variant[key], number) for key in ("metrics", "parity", "latency")),
            str(len(variant["kept_fp32"]) or "–"),
            end_section=True,
        )
    show(table)


def _pairs(document: Mapping[str, Any], number: Any, prefix: str = "") -> str:
    """The single numbers of a nested document, a line each."""
    lines = []
    for key, value in document.items():
        if isinstance(value, Mapping):
            lines.append(_pairs(value, number, f"{prefix}{key} "))
        elif isinstance(value, int | float | str):
            lines.append(f"{prefix}{key} {number(value)}")
    return "\n".join(line for line in lines if line) or "–"


def _whole(shapes: Mapping[str, list[int]]) -> int:
    from math import prod

    return sum(prod(shape) for shape in shapes.values())


def _rounded(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _whole_share(value: float | None) -> str:
    return "–" if value is None else f"{round(100 * value)}%"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _table(first: str, *others: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for title in others:
        table.add_column(title, justify="right")
    return table
