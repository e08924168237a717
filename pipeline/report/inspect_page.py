"""The page of `svfit inspect`: a base model's spectra, what cutting them does, and what follows, in one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.report.headline import tile
from pipeline.report.inspect_spectra import energies, layer_table, spectra
from pipeline.report.markup import Html, el, facts, isolate, join, table
from pipeline.report.page import contents, head
from pipeline.report.svg import Series, line_chart
from pipeline.report.values import (
    MISSING,
    at,
    count,
    duration,
    items,
    mapping,
    mappings,
    number,
    percent,
    plural,
    words,
)

Document = Mapping[str, Any]
Section = Callable[[Document], Html | None]

VERDICTS = {
    "holds": ("ok", "✓ The top values hold the information in this model"),
    "partly": ("none", "The top values hold only part of the information in this model"),
    "fails": ("bad", "✕ The top values do not hold the information in this model"),
}
MARKS = {True: ("ok", "✓"), False: ("bad", "✕"), None: ("nil", "·")}
CURVES = (("top", "one", "top r"), ("random", "two", "r by lot"), ("bottom", "grey", "bottom r"))


def render(document: Document) -> str:
    """A model's document (`pipeline.svf.spectra.inspect_model`) as a page that loads and runs nothing."""
    found = contents((key, title, section(document)) for key, title, section in SECTIONS)
    body = el("body", header(document), el("main", tiles(document), *found), FOOTER)
    return f"<!doctype html>\n{el('html', head(words(document.get('name')) or 'Model'), body, lang='en')}\n"


def header(document: Document) -> Html:
    """Name, what was looked at, and whether the method's assumption holds."""
    cls, said = VERDICTS.get(words(at(document, "guidance", "assumption")), ("none", "The outputs were not measured"))
    compared = words(at(document, "outputs", "compared"))
    lead = (
        f"{plural(len(mappings(document.get('layers'))), 'weight')} that SVFit can adapt,"
        f" {count(document.get('directions'))} singular values. Its assumption, measured:"
    )
    name = el("h1", isolate(words(document.get("name")) or "Model"))
    full = max((int(number(layer.get("count")) or 0) for layer in mappings(document.get("layers"))), default=0)
    verdict = el("p", said + (f" at r = {compared} of {full:,}" if compared else ""), cls=f"verdict {cls}")
    return el("header", el("p", "svfit inspect", cls="eyebrow"), name, el("p", lead, cls="lead"), verdict)


def tiles(document: Document) -> Html:
    """The four numbers of the first screen."""
    outputs = mapping(document.get("outputs"))
    compared = words(outputs.get("compared"))
    kept = kept_of(outputs, "all", compared, "top")
    layers = mappings(document.get("layers"))
    flat = sum(layer.get("flat") is True for layer in layers)
    ninety = [(number(at(each, "rank_for", "0.9")), number(each.get("count"))) for each in layers]
    part = sum(a for a, b in ninety if a and b), sum(b for a, b in ninety if a and b)
    first = mapping(next(iter(mappings(document.get("costs"))), None))
    lora = f"{percent(first.get('share'))} of LoRA, r = 8, {at_rank(document)}"
    return el(
        "dl",
        tile("Recommended rank", words(at(document, "guidance", "rank")) or MISSING, "adapter.rank"),
        tile(
            "Outputs kept",
            whole_percent(kept),
            f"with the top {compared} directions of every weight" if compared else "not measured",
        ),
        tile(
            "For 90% of the energy",
            percent(part[0] / part[1], 0) if part[1] else MISSING,
            f"of the directions; {flat} of {plural(len(layers), 'spectrum', 'spectra')} flat",
        ),
        tile("Adapter", count(document.get("values")), "values, diagonal core", lora),
        cls="tiles",
    )


def guidance(document: Document) -> Html | None:
    """Every finding with its mark, then the recommendation and why."""
    told = mapping(document.get("guidance"))
    rows = []
    for finding in mappings(told.get("findings")):
        holds = finding.get("holds")
        cls, mark = MARKS[holds if isinstance(holds, bool) else None]
        rows.append(
            el("li", el("span", mark, cls=f"mark {cls}", aria_hidden="true"), el("bdi", words(finding.get("text"))))
        )
    by_kind = ", ".join(f"{kind} {words(rank)}" for kind, rank in mapping(told.get("rank_by_kind")).items())
    advice = el(
        "div",
        el("p", el("b", "adapter.rank = ", el("code", setting(told.get("rank"))))),
        el("p", words(told.get("reason"))),
        el("p", "By kind, each cut alone to keep 90%: ", isolate(by_kind), ".", cls="small") if by_kind else None,
        cls="advice",
    )
    note = el("p", "✓ speaks for the method's assumption, ✕ against it, · for neither.", cls="small")
    return el("div", el("ul", *rows, cls="findings"), note, advice)


def at_rank(document: Document) -> str:
    """The rank that the spectra were looked at with."""
    rank = words(document.get("rank"))
    return "at full rank" if rank == "full" else f"at rank {rank}"


def setting(rank: Any) -> str:
    """A rank as a configuration has it."""
    return f'"{rank}"' if isinstance(rank, str) else words(rank)


def kept_of(outputs: Document, group: str, rank: str, way: str) -> float | None:
    """How much of the outputs a cut keeps; None where it wasn't made or has no say."""
    for cut in mappings(outputs.get("cuts")):
        if (cut.get("group"), cut.get("rank"), cut.get("way")) == (group, rank, way):
            return number(cut.get("kept"))
    return None


def outputs(document: Document) -> Html | None:
    """What is left of the model's outputs with each weight cut: the whole model, then each kind of layer."""
    measured = mapping(document.get("outputs"))
    ranks = [words(rank) for rank in items(measured.get("ranks"))]
    if not ranks:
        return None
    groups = mapping(measured.get("groups"))
    charts = [chart for chart in (cut_chart(measured, ranks), kind_chart(measured, ranks, groups)) if chart]
    head_row = ["Cut", "Weights", *(f"r = {rank}" for rank in ranks)]
    rows = [
        [
            el("b", "Whole model") if group == "all" else isolate(group),
            count(layers),
            *(cut_cell(measured, group, rank) for rank in ranks),
        ]
        for group, layers in groups.items()
    ]
    source = words(measured.get("source"))
    told = (
        f"Vectors of {plural(measured.get('texts'), 'text')}"
        f"{f' ({source})' if source else ''}, with the weights replaced by some of their singular directions."
        " 0% is as good as leaving these weights out, 100% is the model as it is; below 0% is worse than leaving out."
        f" Different texts have a cosine of {number(measured.get('between_texts')) or 0:.2f} on average."
    )
    made = table("Outputs kept with the top r, by lot below", head_row, rows)
    return el("div", el("p", told, cls="small"), el("div", *charts, cls="charts"), made, pushes(measured, ranks))


def cut_cell(measured: Document, group: str, rank: str) -> Html | str:
    """Kept with the top r; with as many by lot below, where that was measured."""
    chance = kept_of(measured, group, rank, "random")
    below = el("small", f"{whole_percent(chance)} by lot") if chance is not None else None
    return join([whole_percent(kept_of(measured, group, rank, "top")), below])


def whole_percent(value: float | None) -> str:
    """A share without decimals, with a true minus and no minus zero."""
    return MISSING if value is None else f"{round(100 * value)}%".replace("-", "−")


def cut_chart(measured: Document, ranks: Sequence[str]) -> Html | None:
    """Kept against rank for the whole model, three ways to choose."""
    lines = [Series(name, points(measured, "all", ranks, way), cls, dots=True) for way, cls, name in CURVES]
    desc = "; ".join(
        f"{line.name}: " + ", ".join(f"{x:.0f} keeps {whole_percent(y)}" for x, y in line.points) for line in lines
    )
    return line_chart("Whole model cut to r directions", desc, lines, "rank r", whole_percent)


def kind_chart(measured: Document, ranks: Sequence[str], groups: Document) -> Html | None:
    """Kept against rank with the top directions, a line a kind of layer."""
    kinds = [group for group in groups if group != "all"]
    if not 1 < len(kinds) <= len(SHADES):
        return None
    lines = [
        Series(kind, points(measured, kind, ranks, "top"), cls, dots=True)
        for kind, cls in zip(kinds, SHADES, strict=False)
    ]
    return line_chart("One kind cut at a time", "Kept with the top r.", lines, "rank r", whole_percent)


SHADES = ("k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8")


def points(measured: Document, group: str, ranks: Sequence[str], way: str) -> list[tuple[float, float]]:
    """(rank, kept) where it was measured at a number."""
    found = ((float(rank), kept_of(measured, group, rank, way)) for rank in ranks if rank.isdigit())
    return [(rank, kept) for rank, kept in found if kept is not None]


def pushes(measured: Document, ranks: Sequence[str]) -> Html | None:
    """How much a push of the same size along some directions changes how texts differ."""
    found = {(push.get("rank"), push.get("way")): push.get("change") for push in mappings(measured.get("pushes"))}
    if not found:
        return None
    rows = [[name, *(percent(found.get((rank, way))) for rank in ranks)] for way, _, name in CURVES]
    size = percent(measured.get("push"), 0)
    caption = f"Change of how texts differ when every weight is pushed by {size} of its size along"
    return table(caption, ["Directions", *(f"r = {rank}" for rank in ranks)], rows)


def cost(document: Document) -> Html | None:
    """Trained values of each core beside LoRA's."""
    rows = [
        [
            words(row.get("core")),
            count(row.get("values")),
            percent(row.get("share"), 0 if (number(row.get("share")) or 0) >= 1 else 1),
            f"r ≤ {count(row.get('fits'))}" if number(row.get("fits")) else MISSING,
        ]
        for row in mappings(document.get("costs"))
    ]
    caption = f"Trained values {at_rank(document)}"
    return table(caption, ["Core", "Values", "Of LoRA r=8", "Fits 1/16 with"], rows, cls="compact") if rows else None


def measured_how(document: Document) -> Html | None:
    """Where it comes from."""
    seconds = at(document, "outputs", "seconds")
    return facts(
        [
            ("Base sha256", code(document.get("sha256"))),
            ("Basis", code(document.get("basis_id"))),
            ("Pooling", words(document.get("pooling"))),
            ("Found by iteration", plural(found, "weight") if (found := number(document.get("randomized"))) else ""),
            ("Decomposed now", plural(document.get("computed"), "weight")),
            ("Outputs compared in", duration(seconds) if number(seconds) is not None else ""),
        ]
    )


def code(value: Any) -> Html | None:
    """A hash, breaking anywhere."""
    return el("code", words(value)) if words(value) else None


FOOTER = el("footer", el("p", "Written by svfit inspect. With --json, the same numbers for programs."))
SECTIONS: tuple[tuple[str, str, Section], ...] = (
    ("guidance", "Guidance", guidance),
    ("outputs", "What a cut leaves of the outputs", outputs),
    ("energy", "Energy", energies),
    ("cost", "Trained values", cost),
    ("layers", "Layers", layer_table),
    ("spectra", "Spectra", spectra),
    ("made", "Where it comes from", measured_how),
)
