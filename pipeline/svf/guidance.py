"""What the measured numbers of a model say to a person: where the method's assumption holds, and which rank to take.

The assumption is that the top singular values hold the information. Nothing here asserts it: every sentence follows
from numbers of the same document (`pipeline.svf.inspect.inspect_model`) and tells them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from export.core import DIAGONAL, Core
from pipeline.svf.rank import LORA_PART, LORA_RANK, lora_values

CORES = {"diagonal": DIAGONAL, "banded(1)": Core("banded", 1), "dense": Core("dense")}
FLAT = 0.8
HOLDS, FAILS, KEEPS = 0.9, 0.5, 0.95
LEVER = 1.15
_NAMED = 6

Document = Mapping[str, Any]


def costs(shapes: Sequence[tuple[int, int]], ranks: Sequence[int]) -> list[dict[str, Any]]:
    """Trained values of each core at these ranks beside those of LoRA (`lora_values`) on the same weights `(out, in)`.

    `share` is that of LoRA's values, `fits` the largest rank, the same for all weights (and at most all that a weight
    has), with which the core stays within a sixteenth of them; 0 where none does.
    """
    lora = lora_values(shapes)
    full = [min(shape) for shape in shapes]
    rows: list[dict[str, Any]] = []
    for name, core in CORES.items():
        values = sum(core.count(rank) for rank in ranks)
        fits = 0
        while fits < max(full) and LORA_PART * sum(core.count(min(fits + 1, most)) for most in full) <= lora:
            fits += 1
        rows.append({"core": name, "values": values, "share": values / lora, "fits": fits})
    return [*rows, {"core": f"LoRA r={LORA_RANK}", "values": lora, "share": 1.0, "fits": None}]


def guide(document: Document) -> dict[str, Any]:
    """Findings and a recommendation from a model's document: its `layers`, `costs`, and `outputs` where measured.

    `assumption` is "holds", "partly" or "fails" for the whole model at its `compared` rank, None where outputs
    weren't measured; `kinds` the same by kind of layer; `rank` what to put into `adapter.rank`, `reason` why;
    `findings` sentences, each with `holds`: whether it speaks for the assumption (True), against (False) or neither.
    """
    layers, outputs = document["layers"], document.get("outputs")
    findings = [_energy(layers), *_flat(layers)]
    kinds: dict[str, str] = {}
    assumption = None
    if outputs:
        at = outputs["compared"]
        assumption = _verdict(_kept(outputs, "all", at, "top"))
        kinds = {
            group: verdict
            for group in outputs["groups"]
            if group != "all" and (verdict := _verdict(_kept(outputs, group, at, "top")))
        }
        findings += [_whole(outputs, at), *_ways(outputs, at), *_by_kind(outputs, kinds, at), *_pushes(outputs, at)]
    rank, reason = _rank(document)
    findings += [_cost(document), _caution(outputs)]
    return {
        "assumption": assumption,
        "kinds": kinds,
        "rank": rank,
        "reason": reason,
        "rank_by_kind": _rank_by_kind(outputs) if outputs else {},
        "findings": findings,
    }


def _finding(text: str, holds: bool | None = None, about: str = "") -> dict[str, Any]:
    return {"about": about, "holds": holds, "text": text}


def _energy(layers: Sequence[Document]) -> dict[str, Any]:
    rows = [row for row in layers if row["rank_for"]["0.9"]]
    if not rows:
        return _finding(
            "Only the largest singular values of these weights are known, so no rank for 90% of the energy.",
            about="energy",
        )
    full = sum(row["count"] for row in rows)
    nine, ninety_nine = (
        sum(row["rank_for"][share] or row["count"] for row in rows) / full for share in ("0.9", "0.99")
    )
    noise = sum(row["random"]["rank_for"]["0.9"] for row in rows) / full
    text = (
        f"90% of the energy takes {nine:.0%} of the directions, 99% takes {ninety_nine:.0%}. "
        f"A random matrix of the same shapes takes {noise:.0%} for 90%."
    )
    return _finding(text, False if nine > 0.5 else None, "energy")


def _flat(layers: Sequence[Document]) -> list[dict[str, Any]]:
    flat = [row for row in layers if row["flat"]]
    if any(row["flat"] is None for row in layers):
        return []
    if not flat:
        return [_finding("No spectrum is flat: each falls clearly faster than a random matrix's.", True, "flat")]
    kinds: dict[str, int] = {}
    for row in flat:
        kinds[row["kind"]] = kinds.get(row["kind"], 0) + 1
    counted = {kind: sum(row["kind"] == kind for row in layers) for kind in kinds}
    named = [f"{kind} ({found} of {counted[kind]})" for kind, found in kinds.items()]
    more = f" and {len(named) - _NAMED} more kinds" if len(named) > _NAMED else ""
    text = (
        f"{len(flat)} of {len(layers)} spectra are flat, needing at least {FLAT:.0%} of a random matrix's rank for 90% "
        f"of the energy: {', '.join(named[:_NAMED])}{more}. Cutting the rank loses much there."
    )
    return [_finding(text, False, "flat")]


def _kept(outputs: Document, group: str, rank: str, way: str) -> float | None:
    found = [c["kept"] for c in outputs["cuts"] if (c["group"], c["rank"], c["way"]) == (group, rank, way)]
    return found[0] if found else None


def _verdict(kept: float | None) -> str | None:
    if kept is None:
        return None
    return "holds" if kept >= HOLDS else "fails" if kept < FAILS else "partly"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{round(100 * value)}%".replace("-", "−")


def _whole(outputs: Document, at: str) -> dict[str, Any]:
    kept = _kept(outputs, "all", at, "top")
    if kept is None:
        return _finding("Left out altogether, these weights change nothing in the outputs that are compared.")
    tops = [f"r = {rank} keeps {_share(_kept(outputs, 'all', rank, 'top'))}" for rank in outputs["ranks"]]
    verdict = {"holds": "do hold", "partly": "hold part of", "fails": "do not hold"}[str(_verdict(kept))]
    text = (
        f"With every weight cut to its top directions: {', '.join(tops)} of the way from these weights left out (0%) "
        f"to the model as it is (100%). At r = {at} the top values {verdict} the information."
    )
    return _finding(text, {"holds": True, "fails": False}.get(str(_verdict(kept))), "outputs")


def _ways(outputs: Document, at: str) -> list[dict[str, Any]]:
    top, bottom, chance = (_kept(outputs, "all", at, way) for way in ("top", "bottom", "random"))
    if top is None or bottom is None or chance is None:
        return []
    ahead = top > max(bottom, chance) + 0.05
    text = (
        f"As many directions by lot keep {_share(chance)}, the bottom ones {_share(bottom)}, the top ones "
        f"{_share(top)} (r = {at}): "
        + ("the top ones do carry the most." if ahead else "the top ones are no better than others.")
    )
    return [_finding(text, ahead, "outputs")]


def _by_kind(outputs: Document, kinds: Mapping[str, str], at: str) -> list[dict[str, Any]]:
    findings = []
    for verdict, said in (("holds", "holds"), ("partly", "holds in part"), ("fails", "does not hold")):
        named = [
            f"{kind} ({_share(_kept(outputs, kind, at, 'top'))})" for kind, each in kinds.items() if each == verdict
        ]
        if named:
            text = f"One kind of layer cut at a time, r = {at}: the assumption {said} for {', '.join(named)}."
            findings.append(_finding(text, {"holds": True, "fails": False}.get(verdict), "kinds"))
    return findings


def _pushes(outputs: Document, at: str) -> list[dict[str, Any]]:
    changes = {(push["rank"], push["way"]): push["change"] for push in outputs["pushes"]}
    times = {
        rank: changes[rank, "top"] / chance for rank in outputs["ranks"] if (chance := changes.get((rank, "random")))
    }
    if at not in times:
        return []
    if times[at] >= LEVER:
        said = "moving a top value does more than moving another"
    elif times[at] <= 1 / LEVER:
        said = "moving a top value does less than moving another, so freezing the rest gives up leverage"
    else:
        said = "a top value has as much leverage as another"
    told = ", ".join(f"{each:.2f} times (r = {rank})" for rank, each in times.items())
    text = (
        f"A push of {outputs['push']:.0%} of each weight's size along its top directions changes how texts differ "
        f"{told} as much as along directions by lot. At r = {at} {said}."
    )
    return [_finding(text, True if times[at] >= LEVER else False if times[at] <= 1 / LEVER else None, "push")]


def _rank(document: Document) -> tuple[int | str, str]:
    outputs = document.get("outputs")
    cheap = (
        f"a diagonal core on all directions is {document['directions']:,} values, "
        f"1/{document['lora'] / document['directions']:.0f} of LoRA r={LORA_RANK}'s, so cutting the rank saves "
        "time, hardly values"
    )
    if not outputs:
        return "full", f"{cheap[0].upper()}{cheap[1:]}. What a cut costs was not measured."
    enough = [
        rank for rank in outputs["ranks"] if rank.isdigit() and (_kept(outputs, "all", rank, "top") or 0) >= KEEPS
    ]
    if enough:
        rank = min(int(each) for each in enough)
        return rank, (
            f"The top {rank} directions keep {_share(_kept(outputs, 'all', str(rank), 'top'))} of what the weights do "
            f"to the outputs; the rest would cost time and {document['directions'] - _at(document, rank):,} values."
        )
    best = max((r for r in outputs["ranks"] if r.isdigit()), key=int, default=None)
    told = f"even the top {best} keep only {_share(_kept(outputs, 'all', best, 'top'))}; " if best else ""
    return "full", f"No rank that was tried keeps {KEEPS:.0%} of the outputs: {told}{cheap}."


def _at(document: Document, rank: int) -> int:
    return sum(min(rank, row["count"]) for row in document["layers"])


def _rank_by_kind(outputs: Document) -> dict[str, int | str]:
    """The smallest rank tried that keeps 90% of what a kind of layer does to the outputs, each cut alone."""
    result: dict[str, int | str] = {}
    for group in outputs["groups"]:
        tried = [(int(rank), _kept(outputs, group, rank, "top")) for rank in outputs["ranks"] if rank.isdigit()]
        if group == "all" or all(kept is None for _, kept in tried):
            continue
        result[group] = min((rank for rank, kept in tried if (kept or 0) >= HOLDS), default="full")
    return result


def _cost(document: Document) -> dict[str, Any]:
    rows = document["costs"]
    told = [
        f"{row['core']} {row['values']:,} ({row['share']:.1%}; r ≤ {row['fits']} fits 1/{LORA_PART})"
        for row in rows[:-1]
    ]
    rank = "at full rank" if document["rank"] == "full" else f"at rank {document['rank']}"
    return _finding(f"Trained values {rank}, beside LoRA r={LORA_RANK}'s {rows[-1]['values']:,}: {'; '.join(told)}.")


def _caution(outputs: Document | None) -> dict[str, Any]:
    return _finding(
        "SVFit cuts nothing: directions beyond r stay as they are, frozen. The cuts tell what the directions it may "
        "move carry of the model as it is, not what a task needs; `svfit compare` trains and tells."
        if outputs
        else "Spectra alone do not tell what the outputs owe to them; without --quick it is measured, of texts."
    )
