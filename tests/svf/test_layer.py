"""The layer's algebra: three forms of one map, and a fold that is the same map again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

import pipeline.svf.layer as layer_module
from export.basis import Factors
from export.core import DIAGONAL
from pipeline.svf.decompose import decompose_weight
from pipeline.svf.layer import SVFLinear
from pipeline.svf.plan import Plan
from pipeline.svf.weights import is_linear, oriented_weight
from serve.errors import InputError

FORMS = ("bypass", "formed", "factored")
ROUNDING = 2e-6
"""float32 has 1.2e-7 of relative rounding; sums of up to 24 terms of size 1 to 10 here lose a few units more."""


def make(kind: str, out: int, inp: int, rank: int, *, bias: bool = True, seed: int = 0) -> SVFLinear:
    torch.manual_seed(seed)
    base: nn.Module = Conv1D(out, inp) if kind == "conv1d" else nn.Linear(inp, out, bias=bias)
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.copy_(torch.randn_like(parameter) / 2)
    made = SVFLinear(base, decompose_weight(oriented_weight(base)).top(rank))
    made.add("a")
    made.active = "a"
    return made


def force(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(layer_module, "cheapest_plan", lambda *_, **__: Plan(form, "inner", form))


def answers(made: SVFLinear, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The output, and the gradients of a fixed function of it by delta and by x."""
    x = x.clone().requires_grad_(True)
    y = made(x)
    made.delta["a"].grad = None
    (y.float() * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
    assert x.grad is not None
    gradient = made.delta["a"].grad
    assert gradient is not None
    return y.detach(), gradient.clone(), x.grad


def reference(made: SVFLinear, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same from the definition, in float64, with the derivative written out: `d/d delta_i = g^T u_i v_i^T x`."""
    U, Vh, delta = made.U.double(), made.Vh.double(), made.delta["a"].detach().double()
    W = oriented_weight(made.base).detach().double() + U @ torch.diag(delta) @ Vh
    y = x.double() @ W.T + (made.bias.detach().double() if made.bias is not None else 0)
    g = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape)
    rows, back = x.double().reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    return y, ((back @ U) * (rows @ Vh.T)).sum(0), g @ W


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)], ids=str)
@pytest.mark.parametrize(("kind", "bias"), [("linear", True), ("linear", False), ("conv1d", True)])
def test_each_form_gives_the_outputs_and_gradients_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, form: str, shape: tuple[int, ...], kind: str, bias: bool
) -> None:
    made = make(kind, 7, 5, 5, bias=bias)
    torch.manual_seed(1)
    nn.init.normal_(made.delta["a"])
    x = torch.randn(shape)
    force(monkeypatch, form)
    for found, wanted in zip(answers(made, x), reference(made, x), strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=ROUNDING, atol=10 * ROUNDING)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_bypass_and_formed_are_one_map_at_every_rank(data: st.DataObject) -> None:
    out, inp = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    rank = data.draw(st.integers(1, min(out, inp)))
    made = make("linear", out, inp, rank, seed=data.draw(st.integers(0, 99)))
    nn.init.normal_(made.delta["a"])
    x = torch.randn(4, inp)
    wanted = reference(made, x)
    for form in FORMS if rank == min(out, inp) else FORMS[:2]:
        with pytest.MonkeyPatch.context() as patch:
            force(patch, form)
            for found, right in zip(answers(made, x), wanted, strict=True):
                torch.testing.assert_close(found.double(), right, rtol=ROUNDING, atol=10 * ROUNDING)


@pytest.mark.parametrize("form", FORMS)
def test_the_layer_works_on_float64_weights(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    made = make("linear", 6, 4, 4)
    made.base.double()
    nn.init.normal_(made.delta["a"])
    x = torch.randn(3, 4, dtype=torch.float64)
    force(monkeypatch, form)
    # the factors and delta are float32, whatever the weight is: its rounding is what remains
    torch.testing.assert_close(made(x), reference(made, x)[0], rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("form", FORMS)
def test_a_zero_delta_changes_nothing(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    made = make("linear", 24, 16, 16)
    x = torch.randn(8, 16)
    force(monkeypatch, form)
    if form == "factored":  # W is replaced by U S Vh, whose float32 factors round: close, not equal
        torch.testing.assert_close(made(x), made.base(x), rtol=ROUNDING, atol=10 * ROUNDING)
    else:  # W plus exact zeros
        assert torch.equal(made(x), made.base(x))


def test_without_an_active_adapter_the_layer_is_its_base() -> None:
    made = make("linear", 7, 5, 5)
    nn.init.normal_(made.delta["a"])
    x = torch.randn(3, 5)
    made.active = None
    assert torch.equal(made(x), made.base(x))


def test_the_tokens_of_all_leading_dimensions_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def note(*counts: Any, **known: bool) -> Plan:
        seen.append((counts, known))
        return Plan("bypass", "inner")

    monkeypatch.setattr(layer_module, "cheapest_plan", note)
    made = make("linear", 7, 5, 3)
    made.base.requires_grad_(False)
    made(torch.randn(2, 3, 5))
    assert seen == [((6, 7, 5, 3, DIAGONAL), {"complete": True, "into_x": False, "into_values": True})]


@pytest.mark.parametrize("form", FORMS)
def test_on_bf16_weights_delta_stays_float32_and_small_steps_add_up(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    made = make("linear", 16, 12, 12)
    made.base.to(torch.bfloat16)
    x = torch.randn(4, 12, dtype=torch.bfloat16)
    force(monkeypatch, form)
    optimizer = torch.optim.SGD(made.delta.parameters(), lr=1e-6)
    for _ in range(3):
        optimizer.zero_grad()
        made(x).float().sum().backward()
        optimizer.step()
    assert made(x).dtype == torch.bfloat16
    assert made.delta["a"].dtype == torch.float32
    delta = made.delta["a"].detach()
    assert bool((delta.abs() > 0).all())
    values = made.S.to(torch.bfloat16)
    assert torch.equal(values + delta.to(torch.bfloat16), values), "beside the values these steps would have vanished"


@pytest.mark.parametrize("form", FORMS)
def test_on_bf16_weights_the_answer_is_that_of_float32_to_bf16_rounding(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    made = make("linear", 16, 12, 12)
    made.base.to(torch.bfloat16)
    nn.init.normal_(made.delta["a"], std=0.3)
    x = torch.randn(64, 12, dtype=torch.bfloat16)
    force(monkeypatch, form)
    found, wanted = made(x).detach().double(), reference(made, x)[0]
    # bf16 keeps 8 bits (2^-9 = 0.2 % a rounding); three roundings a path, over a sum of 12
    assert float((found - wanted).norm() / wanted.norm()) < 0.01


def test_casting_the_model_casts_neither_delta_nor_the_factors() -> None:
    made = make("linear", 7, 5, 5)
    nn.init.constant_(made.delta["a"], 1e-3)
    before = made.delta["a"].detach().clone(), made.U.clone()
    made.to(torch.bfloat16)
    assert made.weight.dtype == torch.bfloat16
    assert torch.equal(made.delta["a"], before[0])
    assert torch.equal(made.U, before[1])
    assert made(torch.randn(2, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
@pytest.mark.parametrize("rank", [1, 3, 5])
def test_folded_is_unfolded_and_unfolding_restores_every_bit(kind: str, rank: int) -> None:
    made = make(kind, 7, 5, rank)
    nn.init.normal_(made.delta["a"])
    before = made.weight.detach().clone()
    x = torch.randn(9, 5)
    unfolded = made(x)
    made.fold("a")
    # the fold is float64 and rounds once, so only the two float32 products differ
    torch.testing.assert_close(made(x), unfolded, rtol=1e-5, atol=1e-5)
    made.unfold()
    assert torch.equal(made.weight, before)
    assert torch.equal(made(x), unfolded)


def test_unfolding_what_is_not_folded_does_nothing() -> None:
    made = make("linear", 7, 5, 5)
    before = made.weight.detach().clone()
    made.unfold()
    assert torch.equal(made.weight, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_no_number_is_not_folded(value: float) -> None:
    made = make("linear", 7, 5, 5)
    before = made.weight.detach().clone()
    with torch.no_grad():
        made.delta["a"][2] = value
    with pytest.raises(InputError, match="NaN or infinity"):
        made.fold("a")
    assert torch.equal(made.weight, before)
    assert made.folded is None


def test_a_fold_beyond_the_weights_own_range_is_refused() -> None:
    made = make("linear", 7, 5, 5)
    made.base.to(torch.float16)  # largest value 65504
    before = made.weight.detach().clone()
    nn.init.constant_(made.delta["a"], 1e6)
    with pytest.raises(InputError, match="float16"):
        made.fold("a")
    assert torch.equal(made.weight, before)


def test_no_checkpoint_carries_the_factors() -> None:
    assert set(make("linear", 7, 5, 5).state_dict()) == {"base.weight", "base.bias", "delta.a"}


def test_only_plain_linear_maps_are_wrapped() -> None:
    class Special(nn.Linear):
        """A subclass may do anything in its forward."""

    assert is_linear(nn.Linear(2, 2))
    assert is_linear(Conv1D(2, 2))
    assert not is_linear(Special(2, 2))
    assert not is_linear(nn.Embedding(2, 2))


def test_the_factors_are_the_layers_own() -> None:
    made = make("linear", 7, 5, 3)
    assert isinstance(made.factors, Factors)
    assert made.factors.rank == 3
    assert "rank=3" in repr(made)
