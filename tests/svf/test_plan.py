"""The plan of a layer: counted as documented, and never dearer than another."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.core import DIAGONAL, Core
from pipeline.svf.plan import PASS, Plan, cheapest_plan

CORES = (DIAGONAL, Core("banded", 1), Core("dense"))
FORMS = ("bypass", "formed", "factored")


def count(plan: Plan, T: int, out: int, inp: int, r: int, core: Core) -> int:
    """Multiply-adds of a plan, told one product after the other."""
    applied = {"diagonal": r * PASS, "banded": 5 * r * PASS, "dense": r * r}[core.kind]
    total = 0
    for form, made in ((plan.forward, "z"), (plan.backward, "h")):
        if form == "formed":
            total += out * applied + out * inp * r + 2 * out * inp * PASS + T * out * inp
        elif form:
            total += T * (r * inp + r * out + applied)
            total += T * (out * inp + out * PASS) if form == "bypass" else T * r * PASS
        if plan.values == "inner" and form in ("formed", ""):
            total += T * r * (inp if made == "z" else out)
    if plan.values == "inner":
        total += T * (applied + r * PASS)
    if plan.values == "outer":
        total += T * out * inp + out * inp * (r + PASS) + inp * applied
    return total


@given(
    st.integers(1, 10_000),
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.floats(0, 1),
    st.sampled_from(CORES),
    st.booleans(),
    st.booleans(),
)
def test_no_plan_is_cheaper_than_the_one_chosen(
    T: int, out: int, inp: int, share: float, core: Core, into_x: bool, into_values: bool
) -> None:
    r = max(1, round(share * min(out, inp)))
    chosen = cheapest_plan(T, out, inp, r, core, into_x=into_x, into_values=into_values)
    forms = FORMS if r == min(out, inp) else FORMS[:2]
    plans = [
        Plan(*ways)
        for ways in itertools.product(forms, ("inner", "outer") if into_values else ("",), forms if into_x else ("",))
    ]
    assert chosen in plans
    assert count(chosen, T, out, inp, r, core) == min(count(plan, T, out, inp, r, core) for plan in plans)


@pytest.mark.parametrize(
    ("tokens", "rank", "wanted"),
    [
        (128, 64, Plan("bypass", "inner", "bypass")),
        (4096, 64, Plan("formed", "inner", "formed")),
        (512, 384, Plan("factored", "inner", "factored")),
        (4096, 384, Plan("formed", "outer", "formed")),
    ],
)
def test_few_rows_go_beside_the_weight_and_many_through_a_new_one(tokens: int, rank: int, wanted: Plan) -> None:
    assert cheapest_plan(tokens, 384, 384, rank, DIAGONAL) == wanted


def test_incomplete_factors_never_stand_in_for_the_weight() -> None:
    assert "factored" in cheapest_plan(16, 384, 384, 384, DIAGONAL)
    assert "factored" not in cheapest_plan(16, 384, 384, 384, DIAGONAL, complete=False)


def test_what_needs_no_gradient_costs_none() -> None:
    assert cheapest_plan(1, 768, 768, 64, DIAGONAL, into_x=False, into_values=False) == Plan("bypass")
    assert cheapest_plan(128, 384, 384, 64, DIAGONAL, into_x=False) == Plan("bypass", "inner")
