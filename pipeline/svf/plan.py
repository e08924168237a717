"""How one layer computes a batch: its products counted, and the cheapest way taken."""

from __future__ import annotations

from typing import NamedTuple

from export.core import Core

PASS = 12
"""What reading and writing one value costs in multiply-adds of a matrix product; fitted to timings of single
layers on a CPU (AMD EPYC, AVX2). It decides only where two ways are near each other."""


class Plan(NamedTuple):
    """Three choices. Each is exact: a plan changes the time and the memory of a step, not what it gives.

    `forward` is how `y` comes from `x`, `backward` how the gradient of `x` comes from `g`, that of `y` (empty where
    `x` needs none):

    - `bypass`: `W x + U C (Vh x)`
    - `formed`: `W' x`, with `W' = W + U C Vh` made for the occasion and thrown away
    - `factored`: `U ((diag(S) + C) (Vh x))`, without `W`: complete factors of full rank only, where `W = U diag(S) Vh`

    `values` is how the gradient of `C` comes about (empty where it needs none), and what is kept for it:

    - `inner`: `Σ_t (Uᵀ g_t) (Vh x_t)ᵀ`, of which only the places in `C` are computed; keeps `Vh x (tokens, r)`
    - `outer`: `Uᵀ G V` with `G = Σ_t g_t x_tᵀ`; keeps `x (tokens, in)`
    """

    forward: str
    values: str = ""
    backward: str = ""


def cheapest_plan(
    tokens: int,
    out: int,
    inp: int,
    rank: int,
    core: Core,
    *,
    complete: bool = True,
    into_x: bool = True,
    into_values: bool = True,
) -> Plan:
    """The plan with the fewest multiply-adds for one forward and one backward pass over `tokens` rows.

    With `T` rows, `P = out·in` and `c` what `C` costs for one row: `bypass` takes `T (P + r·in + r·out + c)`, `formed`
    `T·P` and `P·r` once, `factored` `T (r·in + r·out + c)`, in either pass. `outer` takes `T·P` and `P·r` once, `inner`
    `T·c`, and `T·r·in` and `T·r·out` for its two factors, unless that pass, being `bypass` or `factored`, made one
    anyway. So at `r` far below `in` the cheapest for many rows is `formed, inner, formed`: `2T·P + T·r (in + out) +
    2P·r`, half of what the adapter adds to a `bypass`; and at full rank `formed, outer, formed`: `3T·P + 3P·r`, as full
    fine-tuning without its optimizer.
    """
    weight, first, last, applied = out * inp, rank * inp, rank * out, _applied(core, rank)
    forming = weight * (rank + 2 * PASS) + out * applied
    costs = {
        "bypass": tokens * (weight + first + last + applied + out * PASS),
        "formed": tokens * weight + forming,
    }
    if complete and rank == min(out, inp):
        costs["factored"] = tokens * (first + last + applied + rank * PASS)
    if not into_values:
        form = min(costs, key=lambda way: costs[way])
        return Plan(form, "", form if into_x else "")
    plans: list[tuple[int, Plan]] = []
    for values, z, h, rest in (
        ("inner", tokens * first, tokens * last, tokens * (applied + rank * PASS)),
        ("outer", 0, 0, weight * (tokens + rank + PASS) + inp * applied),
    ):
        there = {form: cost + (z if form == "formed" else 0) for form, cost in costs.items()}
        back = {form: cost + (h if form == "formed" else 0) for form, cost in costs.items()} if into_x else {"": h}
        forward, backward = min(there, key=lambda way: there[way]), min(back, key=lambda way: back[way])
        plans.append((there[forward] + back[backward] + rest, Plan(forward, values, backward)))
    return min(plans)[1]


def cheapest_plan_alike(
    tokens: int,
    out: int,
    inp: int,
    rank: int,
    core: Core,
    *,
    complete: bool = True,
    into_x: bool = True,
    into_values: bool = True,
) -> Plan:
    """The same where both passes must take one form, as plain autograd does: a form's `values` are then `outer` where
    `W'` is formed, whose gradient is one more product of all rows, and `inner` elsewhere."""
    weight, both, applied = out * inp, rank * (inp + out), _applied(core, rank)
    bypass, factored = tokens * (weight + both + applied + out * PASS), tokens * (both + applied + rank * PASS)
    costs = {
        "bypass": bypass * (1 + into_x) + into_values * tokens * (0 if into_x else rank * out),
        "formed": tokens * weight * (1 + into_x + into_values)
        + (weight * (rank + 2 * PASS) + out * applied) * (1 + into_values),
    }
    if complete and rank == min(out, inp):
        costs["factored"] = factored * (1 + into_x) + into_values * tokens * (0 if into_x else rank * out)
    form = min(costs, key=lambda way: costs[way])
    return Plan(form, ("outer" if form == "formed" else "inner") if into_values else "", form if into_x else "")


def _applied(core: Core, rank: int) -> int:
    """What `C z` costs for one row."""
    if core.kind == "dense":
        return rank * rank
    return rank * PASS * (1 + 4 * core.bands)
