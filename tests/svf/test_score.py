"""Scores of directions before training are the squared gradients of the very values that would be trained."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn
from torch.nn import functional

from export.core import DIAGONAL, Core
from pipeline.svf.decompose import decompose_weight
from pipeline.svf.score import score, warm_head
from serve.errors import InputError

LAYERS = ("first", "second")


class Twice(nn.Module):
    """A small classifier that uses one of its layers twice and changes an output in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 4), nn.Linear(4, 4)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        hidden += 1.0
        hidden = torch.tanh(self.second(torch.tanh(self.second(hidden))))
        found: torch.Tensor = self.head(self.dropout(hidden)).mean(1)
        return found


def loss(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return functional.cross_entropy(model(batch["x"]), batch["labels"])


@pytest.fixture
def model() -> Twice:
    torch.manual_seed(0)
    return Twice()


@pytest.fixture
def batches() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {"x": torch.randn(6, 2, 5, generator=generator), "labels": torch.randint(3, (6,), generator=generator)}
        for _ in range(3)
    ]


def weight_gradients(model: Twice, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`∂L/∂C = Uᵀ (∂L/∂W) V` by differentiating the weights themselves."""
    model.eval()
    model.zero_grad()
    loss(model, batch).backward()
    found = {}
    for name in LAYERS:
        weight = model.get_submodule(name).weight
        assert isinstance(weight, nn.Parameter)
        assert weight.grad is not None
        factors = decompose_weight(weight)
        found[name] = (factors.U.T @ weight.grad @ factors.Vh.T).double()
    model.zero_grad()
    return found


@pytest.mark.parametrize("core", [DIAGONAL, Core("banded", 1), Core("banded", 2), Core("dense")])
def test_a_score_is_what_growing_by_the_direction_adds_to_the_squared_gradient(
    model: Twice, batches: list[dict[str, torch.Tensor]], core: Core
) -> None:
    factors = {name: decompose_weight(dict(model.named_parameters())[f"{name}.weight"]) for name in LAYERS}
    found = score(model, factors, batches, loss, core)
    for name in LAYERS:
        squares = torch.stack([weight_gradients(model, batch)[name] for batch in batches]).square().sum(0)
        inside = core.matrix(core.mask(len(squares)).double())
        reached = [float((squares * inside)[:rank, :rank].sum()) for rank in range(len(squares) + 1)]
        torch.testing.assert_close(found[name].cumsum(0), torch.tensor(reached[1:], dtype=torch.float64))


def test_the_model_is_as_it_was_afterwards(model: Twice, batches: list[dict[str, torch.Tensor]]) -> None:
    model.first.weight.requires_grad_(False)
    model.head.bias.grad = torch.ones(3)
    model.train()
    model.dropout.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    factors = {"first": decompose_weight(model.first.weight)}
    state = torch.get_rng_state()
    with warm_head(model, ["head"], batches, loss, rate=0.1, passes=2):
        assert not torch.equal(model.head.weight, before["head.weight"])
        score(model, factors, batches, loss, DIAGONAL)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [name for name, value in model.named_parameters() if not value.requires_grad] == ["first.weight"]
    assert [name for name, value in model.named_parameters() if value.grad is not None] == ["head.bias"]
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not model.dropout.training
    assert not model.first._forward_hooks


def test_the_head_is_put_back_and_no_hook_stays_when_a_loss_fails(
    model: Twice, batches: list[dict[str, torch.Tensor]]
) -> None:
    def failing(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        model(batch["x"])
        raise RuntimeError("no loss")

    before = model.head.weight.detach().clone()
    with pytest.raises(RuntimeError, match="no loss"), warm_head(model, ["head"], batches, failing, rate=0.1, passes=1):
        pass
    with pytest.raises(RuntimeError, match="no loss"), warm_head(model, ["head"], batches, loss, rate=0.1, passes=1):
        score(model, {"first": decompose_weight(model.first.weight)}, batches, failing, DIAGONAL)
    assert torch.equal(model.head.weight, before)
    assert not model.first._forward_hooks


def test_gradients_that_are_not_finite_are_refused(model: Twice, batches: list[dict[str, torch.Tensor]]) -> None:
    factors = {"second": decompose_weight(model.second.weight)}

    def broken(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return loss(model, batch) * float("inf")

    with pytest.raises(InputError, match=r"layer second: directions can't be scored, .* try a lower train.head_learn"):
        score(model, factors, batches, broken, DIAGONAL)


def test_a_head_is_put_back_when_a_later_batch_fails(model: Twice, batches: list[dict[str, torch.Tensor]]) -> None:
    before = model.head.weight.detach().clone()
    short = [*batches, {"x": batches[0]["x"]}]  # without labels
    with pytest.raises(KeyError), warm_head(model, ["head"], short, loss, rate=0.1, passes=1):
        pass
    assert torch.equal(model.head.weight, before)


def test_a_warm_head_has_learned(model: Twice, batches: list[dict[str, torch.Tensor]]) -> None:
    model.eval()

    def total() -> float:
        with torch.no_grad():
            return sum(float(loss(model, batch)) for batch in batches)

    before = total()
    with warm_head(model, ["head"], batches, loss, rate=0.05, passes=10):
        assert total() < before
    assert total() == before


def test_a_model_without_a_head_stays_as_it_is(model: Twice, batches: list[dict[str, torch.Tensor]]) -> None:
    before = model.head.weight.clone()
    with warm_head(model, [], batches, loss, rate=0.05, passes=2):
        assert torch.equal(model.head.weight, before)
