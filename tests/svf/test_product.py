"""The layer's product against plain autograd of its formula, whatever the plan; and what it keeps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from export.basis import Factors
from export.core import DIAGONAL, Core
from pipeline.svf.plan import Plan
from pipeline.svf.product import product

CORES = (DIAGONAL, Core("banded", 1), Core("banded", 5), Core("dense"))
FORMS = ("bypass", "formed", "factored")
PLANS = [Plan(*ways) for ways in itertools.product(FORMS, ("inner", "outer"), FORMS)]
SHAPES = ((3,), (2, 3), (2, 1, 3))
OUT, INP = 4, 3
every_core = pytest.mark.parametrize("core", CORES, ids=str)


def made(rank: int, core: Core, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, Factors, torch.Tensor]:
    """A weight `(4, 3)`, its first triplets, and values where the core has any."""
    torch.manual_seed(rank)
    weight = torch.randn(OUT, INP, dtype=dtype)
    U, S, Vh = torch.linalg.svd(weight, full_matrices=False)
    values = torch.randn(core.shape(rank), dtype=dtype) * core.mask(rank)
    return weight, Factors(U, S, Vh).top(rank), values.requires_grad_(True)


def formula(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, values: torch.Tensor, factors: Factors, core: Core
) -> torch.Tensor:
    y = x @ (weight + factors.U @ core.matrix(values) @ factors.Vh).T
    return y if bias is None else y + bias


@every_core
@pytest.mark.parametrize("plan", PLANS, ids="-".join)
def test_every_plan_gives_the_outputs_and_gradients_of_the_formula(core: Core, plan: Plan) -> None:
    weight, factors, values = made(INP, core)
    for shape, biased, graded in itertools.product(SHAPES, (False, True), (False, True)):
        bias = torch.randn(OUT, dtype=torch.float64, requires_grad=True) if biased else None
        x = torch.randn(shape, dtype=torch.float64, requires_grad=graded)
        plan = plan if graded else plan._replace(backward="")
        wanted = formula(x, weight, bias, values, factors, core)
        found = product(x, weight, bias, values, factors, core, plan, torch.float64)
        torch.testing.assert_close(found, wanted)
        g = torch.randn_like(wanted)
        inputs = [value for value in (values, x, bias) if value is not None and value.requires_grad]
        for ours, theirs in zip(
            torch.autograd.grad(found, inputs, g), torch.autograd.grad(wanted, inputs, g), strict=True
        ):
            torch.testing.assert_close(ours, theirs)


@every_core
@pytest.mark.parametrize("plan", PLANS, ids="-".join)
def test_gradcheck(core: Core, plan: Plan) -> None:
    weight, factors, values = made(INP, core)
    mask = core.mask(INP)  # places outside of C are 0 by contract
    for shape, biased, graded in itertools.product(SHAPES[1:], (False, True), (False, True)):
        bias = torch.randn(OUT, dtype=torch.float64, requires_grad=biased)
        x = torch.randn(shape, dtype=torch.float64, requires_grad=graded)
        way = plan if graded else plan._replace(backward="")

        def of(
            x: torch.Tensor, bias: torch.Tensor, values: torch.Tensor, way: Plan = way, biased: bool = biased
        ) -> torch.Tensor:
            return product(x, weight, bias if biased else None, values * mask, factors, core, way, torch.float64)

        assert torch.autograd.gradcheck(of, (x, bias, values), fast_mode=True)


@every_core
@pytest.mark.parametrize("plan", [plan for plan in PLANS if "factored" not in plan], ids="-".join)
def test_at_a_lower_rank_and_with_a_weight_that_trains(core: Core, plan: Plan) -> None:
    weight, factors, values = made(2, core)
    weight.requires_grad_(True)
    x = torch.randn(3, INP, dtype=torch.float64, requires_grad=True)
    wanted = formula(x, weight, None, values, factors, core)
    found = product(x, weight, None, values, factors, core, plan, torch.float64)
    g, inputs = torch.randn_like(wanted), (values, x, weight)
    for ours, theirs in zip(torch.autograd.grad(found, inputs, g), torch.autograd.grad(wanted, inputs, g), strict=True):
        torch.testing.assert_close(ours, theirs)


@every_core
def test_the_gradient_outside_of_the_core_is_zero(core: Core) -> None:
    weight, factors, values = made(INP, core)
    x = torch.randn(6, INP, dtype=torch.float64)
    for way in ("inner", "outer"):
        y = product(x, weight, None, values, factors, core, Plan("bypass", way), torch.float64)
        (gradient,) = torch.autograd.grad(y.sum(), values)
        assert torch.equal(gradient != 0, core.mask(INP))


@contextmanager
def kept() -> Iterator[list[torch.Tensor]]:
    """The tensors that autograd keeps."""
    found: list[torch.Tensor] = []

    def pack(value: torch.Tensor) -> torch.Tensor:
        found.append(value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        yield found


@every_core
@pytest.mark.parametrize("plan", PLANS, ids="-".join)
def test_one_activation_is_kept_and_no_cast_weight(core: Core, plan: Plan) -> None:
    weight, factors, values = made(INP, core, torch.float32)
    x = torch.randn(7, INP, requires_grad=True)
    with kept() as found:
        product(x, weight, None, values, factors, core, plan, torch.bfloat16)
    there = {value.data_ptr() for value in (weight, values, factors.U, factors.S, factors.Vh)}
    own = [value for value in found if value.data_ptr() not in there]
    assert [value.shape for value in own] == [(7, INP)], "x, or Vh x of full rank"
    assert own[0].dtype == torch.bfloat16


def test_only_the_inner_activation_is_kept_at_a_low_rank() -> None:
    weight, factors, values = made(2, DIAGONAL)
    x = torch.randn(7, INP, dtype=torch.float64, requires_grad=True)
    for form in ("bypass", "formed"):
        with kept() as found:
            product(x, weight, None, values, factors, DIAGONAL, Plan(form, "inner", form), torch.float64)
        assert x.data_ptr() not in {value.data_ptr() for value in found}
        assert sum(value.shape == (7, 2) for value in found) == 1


def test_x_that_was_given_in_its_dtype_is_kept_and_not_copied() -> None:
    weight, factors, values = made(INP, DIAGONAL)
    x = torch.randn(2, 3, INP, dtype=torch.float64)
    with kept() as found:
        product(x, weight, None, values, factors, DIAGONAL, Plan("formed", "outer"), torch.float64)
    assert x.data_ptr() in {value.data_ptr() for value in found}


def test_a_second_derivative_is_refused() -> None:
    weight, factors, values = made(INP, DIAGONAL)
    x = torch.randn(3, INP, dtype=torch.float64)
    y = product(x, weight, None, values, factors, DIAGONAL, PLANS[0], torch.float64).square().sum()
    (first,) = torch.autograd.grad(y, values, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("plan", PLANS, ids="-".join)
def test_an_empty_batch_has_no_gradient_but_zeros(plan: Plan) -> None:
    weight, factors, values = made(INP, DIAGONAL)
    x = torch.randn(0, INP, dtype=torch.float64, requires_grad=True)
    y = product(x, weight, None, values, factors, DIAGONAL, plan, torch.float64)
    assert y.shape == (0, OUT)
    y.sum().backward()
    assert values.grad is not None
    assert not values.grad.any()
