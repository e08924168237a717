"""Where and how it was made: machine, times, versions, hashes and the resolved configuration, folded away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.report.markup import Html, el, facts, join
from pipeline.report.values import at, count, duration, items, mapping, moment, number, size, words

Report = Mapping[str, Any]


def reproduce(report: Report) -> Html | None:
    """Everything one needs to do it again."""
    parts = [
        folded("Machine", machine(mapping(report.get("machine")))),
        folded("Time of each stage", times(mapping(report.get("seconds")))),
        folded("Versions and hashes", identity(report)),
        folded("Configuration", config(report.get("config"))),
    ]
    return el("div", *parts) if any(parts) else None


def folded(title: str, inner: Html | None) -> Html | None:
    """A part that opens on request."""
    return el("details", el("summary", title), inner) if inner else None


def machine(found: Mapping[str, Any]) -> Html | None:
    """What the numbers were measured on."""
    isa = items(found.get("isa"))
    memory = found.get("memory_bytes")
    return facts(
        [
            ("Processor", words(found.get("cpu"))),
            ("Instruction sets", ", ".join(words(name) for name in isa) or words(found.get("isa"))),
            ("Cores", words(found.get("cores"))),
            ("Memory", size(memory) if number(memory) else ""),
            ("System", words(found.get("os"))),
            ("Python", words(found.get("python"))),
        ]
    )


def times(seconds: Mapping[str, Any]) -> Html | None:
    """How long each stage took."""
    known = [(str(stage), value) for stage, value in seconds.items() if number(value) is not None]
    total = sum(number(value) or 0.0 for _, value in known)
    rows: list[tuple[str, Html | str | None]] = [(stage, duration(value)) for stage, value in known]
    return facts([*rows, ("all", duration(total))] if len(rows) > 1 else rows)


def identity(report: Report) -> Html | None:
    """What this was made from, and with."""
    base = mapping(report.get("base"))
    parameters = base.get("parameters")
    versions = mapping(at(report, "created", "versions"))
    listed = ", ".join(f"{name} {version}" for name, version in versions.items() if words(version))
    return facts(
        [
            ("Base model", words(base.get("name"))),
            ("Architecture", words(base.get("architecture"))),
            ("Parameters", count(parameters) if number(parameters) else ""),
            ("Base sha256", code(base.get("sha256"))),
            ("Basis", code(at(report, "adapter", "basis_id"))),
            *((f"{split} sha256", code(value)) for split, value in data_hashes(report)),
            ("Made", moment(at(report, "created", "at"))),
            ("svfit", words(at(report, "created", "svfit"))),
            ("Versions", listed),
            ("Report format", words(report.get("format_version"))),
        ]
    )


def data_hashes(report: Report) -> list[tuple[str, Any]]:
    """The hash of each split's file, where it was recorded."""
    splits = mapping(at(report, "data", "splits"))
    return [(str(name).capitalize(), at(split, "sha256")) for name, split in splits.items() if at(split, "sha256")]


def code(value: Any) -> Html | None:
    """A hash, breaking anywhere."""
    return el("code", words(value)) if words(value) else None


def config(value: Any) -> Html | None:
    """The resolved configuration as written JSON."""
    if not mapping(value):
        return None
    written = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return el("pre", el("bdi", written), tabindex="0")


def footer(report: Report) -> Html:
    """Who made the page."""
    made = join(
        ["svfit", words(at(report, "created", "svfit")) or None, moment(at(report, "created", "at")) or None], " "
    )
    return el("footer", el("p", "Written by ", made, ". The same numbers, for programs, are in report.json."))
