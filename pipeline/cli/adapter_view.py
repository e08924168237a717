"""What the commands tell of a bundle's adapters: as documents, and as a person reads them on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.output import show

if TYPE_CHECKING:
    from serve.adapters.registry import Registry
    from serve.adapters.versions import VersionRecord

SCORES = ("accuracy", "pearson", "spearman", "macro_f1")  # the first that an adapter has is listed


def told(registry: Registry, record: VersionRecord) -> dict[str, Any]:
    """A version with those beside it. Raises NotFound where another process has removed them meanwhile."""
    versions = registry.versions(record.name)
    return document_of(record, registry.resolve(record.name), [one.version for one in versions])


def document_of(record: VersionRecord, default: VersionRecord, versions: Iterable[int]) -> dict[str, Any]:
    """A version as the server tells it too, without what only a server knows (`in_memory`, `promoted`)."""
    summary = record.summary
    return {
        "name": record.name,
        "version": record.version,
        "default": default.version,
        "versions": sorted(versions),
        **{key: summary[key] for key in ("task", "labels", "metrics", "trained", "dropped")},
        "sealed": record.sealed,
        "at": record.at,
    }


def show_added(document: dict[str, Any]) -> None:
    click.echo(f"added     {_ref(document)}, what {document['name']} means from now on")
    click.echo(f"task      {_task(document)}")
    click.echo(f"trained   {_trained(document)}")
    click.echo(f"dropped   {100 * document['dropped']:.1f} % of what it learned")


def show_default(document: dict[str, Any]) -> None:
    click.echo(f"default   {_ref(document)}")
    click.echo(f"versions  {_numbers(document['versions'])}")


def show_list(document: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in ("adapter", "versions", "task", "score", "dropped", "since"):
        table.add_column(title, justify="right" if title == "dropped" else "left")
    for row in document["adapters"]:
        since = "sealed" if row["sealed"] else row["at"]
        table.add_row(
            _ref(row), _numbers(row["versions"]), _task(row), _score(row["metrics"]), f"{row['dropped']:.1%}", since
        )
    show(table)
    click.echo(f"where none is named: {document['unnamed'] or 'none answers'}")


def show_card(document: dict[str, Any]) -> None:
    from pipeline.cli.summary import print_summary

    facts = {"adapter": _ref(document), "default": document["default"], "versions": _numbers(document["versions"])}
    facts |= {"task": _task(document), "trained": _trained(document), "dropped": f"{100 * document['dropped']:.1f} %"}
    facts |= {"sealed": document["sealed"], "at": document["at"], "folder": document["folder"]}
    card = {key: value for key, value in document["card"].items() if key not in ("task", "trained")}
    print_summary(_printable({**facts, "card": card}))


def _ref(document: Mapping[str, Any]) -> str:
    return f"{document['name']}@{document['version']}"


def _task(document: Mapping[str, Any]) -> str:
    count = len(document["labels"])
    return f"{document['task']}, {count} labels" if count else str(document["task"])


def _trained(document: Mapping[str, Any]) -> str:
    """What the card says was trained; a card may say nothing."""
    parts = (("adapter", "singular values"), ("head", "values in modules trained whole"))
    counts = [(document["trained"].get(key), what) for key, what in parts]
    return " + ".join(f"{count:,} {what}" for count, what in counts if type(count) is int) or "–"


def _score(metrics: Mapping[str, Any]) -> str:
    from pipeline.cli.summary import number

    for part in (metrics.get("test"), metrics.get("validation"), metrics):
        for name in SCORES:
            if isinstance(part, Mapping) and type(value := part.get(name)) in (int, float):
                return f"{name.replace('_', '-')} {number(value)}"
    return "–"


def _numbers(versions: list[int]) -> str:
    """Version numbers, the last ten of many."""
    return ("… " if len(versions) > 10 else "") + ", ".join(map(str, versions[-10:]))


def _printable(value: Any) -> Any:
    """The same without characters that would steer a terminal: a card is a stranger's."""
    if isinstance(value, Mapping):
        return {_printable(str(key)): _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, str):
        return "".join(letter if letter.isprintable() else " " for letter in value)
    return value
