"""A convolution as an SVFit layer: the same outputs and gradients as its folded kernel, whatever the form."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from export.basis import Factors, tensor_sha256
from export.core import DIAGONAL, Core
from export.store import FactorStore
from pipeline.svf import wrap
from pipeline.svf.convolution import convolved
from pipeline.svf.decompose import decompose_weight
from pipeline.svf.layer import SVFLinear
from pipeline.svf.plan import cheapest_plan_alike
from pipeline.svf.score import score
from pipeline.svf.targets import find_targets
from pipeline.svf.weights import is_convolution, is_target, oriented_weight, stored_weight
from serve.errors import UsageError

CORES = (DIAGONAL, Core("banded", 1), Core("dense"))
FORMS = ("bypass", "formed", "factored")
KINDS: dict[str, dict[str, Any]] = {
    "3x3": {"kernel_size": 3},
    "stride": {"kernel_size": 2, "stride": 2, "bias": False},
    "oblong": {"kernel_size": (3, 1), "stride": (1, 2), "padding": (1, 0)},
    "dilated": {"kernel_size": 3, "dilation": 2, "padding": 2},
    "same": {"kernel_size": 3, "padding": "same"},
    "circular": {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    "reflect": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    "1x1": {"kernel_size": 1},
}


def convolution(kind: str = "3x3", out: int = 4, dtype: torch.dtype = torch.float64) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(2, out, **KINDS[kind]).to(dtype).requires_grad_(False)


def factors_of(module: nn.Module, rank: int | None = None) -> Factors:
    factors = decompose_weight(oriented_weight(module))
    exact = Factors(*(value.double() for value in (factors.U, factors.S, factors.Vh)))
    return exact if rank is None else exact.top(rank)


def values_of(core: Core, rank: int) -> torch.Tensor:
    return (torch.randn(core.shape(rank), dtype=torch.float64) * core.mask(rank)).requires_grad_(True)


@pytest.mark.parametrize("core", CORES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_form_gives_the_outputs_and_gradients_of_the_folded_kernel(kind: str, core: Core) -> None:
    module = convolution(kind)
    full = min(oriented_weight(module).shape)
    for form, rank, lead in itertools.product(FORMS, (1, full), ((2,), ())):
        if form == "factored" and rank < full:
            continue
        factors, values = factors_of(module, rank), values_of(core, rank)
        x = torch.randn(*lead, 2, 7, 6, dtype=torch.float64, requires_grad=True)
        change = factors.U @ core.matrix(values) @ factors.Vh
        folded = (module.weight.flatten(1) + change).view_as(module.weight)
        wanted = module._conv_forward(x, folded, module.bias)
        found = convolved(x, module, values, factors, core, form, torch.float64)
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)  # float32 factors: W is U S Vh to 1e-7
        g = torch.randn_like(wanted)
        for ours, theirs in zip(
            torch.autograd.grad(found, (x, values), g), torch.autograd.grad(wanted, (x, values), g), strict=True
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("core", CORES, ids=str)
def test_gradcheck(core: Core, form: str) -> None:
    module = convolution("oblong")
    rank = min(oriented_weight(module).shape)
    factors, mask = factors_of(module), core.mask(rank)
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)

    def of(x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return convolved(x, module, values * mask, factors, core, form, torch.float64)

    assert torch.autograd.gradcheck(of, (x, values_of(core, rank)), fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fold_is_exact_and_undone_bit_for_bit(kind: str) -> None:
    module = convolution(kind, dtype=torch.float32)
    before = module.weight.clone()
    layer = SVFLinear(module, decompose_weight(oriented_weight(module)))
    layer.add("a")
    x = torch.randn(3, 2, 9, 8)
    torch.testing.assert_close(layer(x), module(x))
    layer.active = "a"
    with torch.no_grad():
        layer.delta["a"].uniform_(-1, 1)
    unfolded = layer(x)
    assert not torch.allclose(unfolded, module(x), atol=1e-2)
    layer.fold("a")
    torch.testing.assert_close(module(x), unfolded, atol=2e-5, rtol=2e-5)
    layer.unfold()
    assert torch.equal(module.weight, before)


def test_a_kernel_is_one_matrix_and_back() -> None:
    module = convolution()
    matrix = oriented_weight(module)
    assert matrix.shape == (4, 18)
    assert matrix.data_ptr() == module.weight.data_ptr()
    assert torch.equal(stored_weight(module, matrix), module.weight)


def test_half_precision_trains_in_half_and_keeps_delta_in_float32() -> None:
    module = convolution(dtype=torch.bfloat16)
    layer = SVFLinear(module, decompose_weight(oriented_weight(module).float()))
    layer.add("a")
    layer.active = "a"
    found = layer(torch.randn(2, 2, 6, 6, dtype=torch.bfloat16))
    assert found.dtype == torch.bfloat16
    found.float().square().mean().backward()
    gradient = layer.delta["a"].grad
    assert gradient is not None
    assert gradient.dtype == torch.float32


def test_autocast_decides_the_dtype() -> None:
    layer = SVFLinear(convolution(dtype=torch.float32), decompose_weight(oriented_weight(convolution()).float()))
    layer.add("a")
    layer.active = "a"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(2, 2, 6, 6)).dtype == torch.bfloat16


def test_many_places_form_the_kernel_and_few_do_not() -> None:
    assert cheapest_plan_alike(100_000, 64, 576, 60, DIAGONAL).forward == "formed"
    assert cheapest_plan_alike(100_000, 64, 576, 8, DIAGONAL).forward == "bypass"
    assert cheapest_plan_alike(4, 64, 576, 8, DIAGONAL).forward == "bypass"
    assert cheapest_plan_alike(4, 64, 576, 64, DIAGONAL).forward == "factored"
    assert cheapest_plan_alike(4, 64, 576, 64, DIAGONAL, complete=False).forward != "factored"


class Net(nn.Module):
    """Convolutions of every kind, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.second = nn.Conv2d(8, 6, 2, stride=2, bias=False)
        self.middle = nn.Linear(6, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.second(torch.relu(self.depthwise(torch.relu(self.first(x)))))
        return self.head(self.middle(hidden.mean((-2, -1))))  # type: ignore[no-any-return]


def test_all_takes_convolutions_of_one_group_and_all_linear_none() -> None:
    assert list(find_targets(Net(), "all", ["head"])) == ["first", "second", "middle"]
    assert list(find_targets(Net(), "all-linear", ["head"])) == ["middle"]
    assert list(find_targets(Net(), ["second"], ["head"])) == ["second"]
    assert list(find_targets(Net(), ".*first", ["head"])) == ["first"]
    assert [is_convolution(module) for module in (nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2))] == [True, False]
    assert not is_target(nn.Conv1d(4, 4, 1))


def test_a_model_of_convolutions_alone_is_told_to_take_all() -> None:
    with pytest.raises(UsageError, match=r'no linear layer outside its head, but 2 convolutions; try .* = "all"'):
        find_targets(Net(), "all-linear", ["head", "middle"])


def test_an_adapter_of_convolutions_is_saved_loaded_and_folded(store: FactorStore, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Net().eval(), torch.randn(4, 3, 8, 8)
    plain = {name: value.clone() for name, value in model.state_dict().items()}
    svfit = wrap(model, targets="all", whole=["head"], store=store)
    assert svfit.basis.layers["first"].shape == (8, 27)
    assert svfit.basis.layers["first"].weight_sha256 == tensor_sha256(plain["first.weight"].flatten(1))
    svfit.add("a")
    svfit.activate("a")
    with torch.no_grad():
        for layer in svfit.layers.values():
            layer.delta["a"].uniform_(-0.5, 0.5)
    wanted = model(x).detach()
    svfit.save(tmp_path, "a")
    other = Net().eval()
    other.load_state_dict(plain)
    again = wrap(other, targets="all", whole=["head"], store=store)
    again.load(tmp_path, "a")
    again.fold("a")
    torch.testing.assert_close(again.merged()(x), wanted, atol=1e-5, rtol=1e-5)


def test_directions_of_a_kernel_are_scored_by_their_squared_gradients(store: FactorStore) -> None:
    torch.manual_seed(0)
    model, x = Net().eval(), torch.randn(4, 3, 8, 8)
    factors = {name: decompose_weight(oriented_weight(model.get_submodule(name))) for name in ("first", "second")}

    def loss(model: nn.Module, batch: Any) -> torch.Tensor:
        return model(batch["x"]).square().sum()  # type: ignore[no-any-return]

    found = score(model, factors, [{"x": x}], loss, DIAGONAL)
    svfit = wrap(model, targets=["first", "second"], whole=["head"], store=store)
    svfit.add("a")
    svfit.activate("a")
    loss(model, {"x": x}).backward()
    for name, layer in svfit.layers.items():
        gradient = layer.delta["a"].grad
        assert gradient is not None
        torch.testing.assert_close(found[name], gradient.double().square(), atol=1e-6, rtol=1e-3)
