"""Training as people train: mixed precision, checkpointed activations, compiled, copied."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from export.basis import Factors
from export.core import DIAGONAL, Core
from export.store import FactorStore
from pipeline.svf import SVFit, wrap
from pipeline.svf.decompose import decompose_weight
from pipeline.svf.layer import SVFLinear

TinyModel = Callable[..., Any]
CORES = (DIAGONAL, Core("banded", 1), Core("dense"))
every_core = pytest.mark.parametrize("core", CORES, ids=str)
IDS = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 4, 5], [2, 9, 10, 3, 6]])


def wrapped(model: nn.Module, store: FactorStore, core: Core, **options: Any) -> SVFit:
    svfit = wrap(model, store=store, core=core, **options)
    svfit.add("a")
    svfit.activate("a")
    torch.manual_seed(1)
    with torch.no_grad():
        for _, value in svfit.trainable()["adapter"]:
            value.copy_(torch.randn_like(value) * 0.1 * core.mask(value.shape[-1]))
    return svfit


def gradients(svfit: SVFit) -> dict[str, torch.Tensor]:
    """Of the adapter and the head, for a fixed loss; without dropout, though in training mode."""
    for module in svfit.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    svfit.model.train()
    svfit.model.zero_grad()
    nn.functional.cross_entropy(svfit.model(input_ids=IDS).logits.float(), torch.tensor([0, 1, 2])).backward()
    found = {}
    for name, value in svfit.trainable()["adapter"] + svfit.trainable()["head"]:
        assert value.grad is not None, name
        found[name] = value.grad.clone()
    return found


def layer(core: Core, out: int = 12, inp: int = 8) -> SVFLinear:
    torch.manual_seed(0)
    base = nn.Linear(inp, out).requires_grad_(False)
    made = SVFLinear(base, decompose_weight(base.weight), core=core)
    made.add("a")
    made.active = "a"
    with torch.no_grad():
        made.delta["a"].copy_(torch.randn_like(made.delta["a"]) * core.mask(8))
    return made


@every_core
def test_under_autocast_the_gradients_are_those_of_float32_to_bf16_rounding(
    tiny_model: TinyModel, store: FactorStore, core: Core
) -> None:
    svfit = wrapped(tiny_model("bert"), store, core, rank=8)
    wanted = gradients(svfit)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(svfit)
    assert {value.dtype for value in found.values()} == {torch.float32}
    ours, theirs = (torch.cat([value.flatten() for value in each.values()]) for each in (found, wanted))
    # bf16: 0.4 % a number, some ten products deep, there and back
    assert float((ours - theirs).norm()) <= 0.05 * float(theirs.norm())


@every_core
@pytest.mark.parametrize("inside", [False, True], ids=["after", "inside"])
def test_autocast_gives_its_dtype_and_keeps_it_in_the_backward_pass(core: Core, inside: bool) -> None:
    made = layer(core)
    x = torch.randn(3, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = made(x)
        if inside:
            y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    if not inside:
        y.float().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32
    assert made.delta["a"].grad is not None
    assert made.delta["a"].grad.dtype == torch.float32


@every_core
@pytest.mark.filterwarnings(
    "ignore:`gradient_checkpointing_enable`:FutureWarning"
)  # its successor is newer than our floor
@pytest.mark.parametrize("reentrant", [False, True], ids=["saved", "reentrant"])
def test_checkpointed_activations_give_the_same_gradients(
    tiny_model: TinyModel, store: FactorStore, core: Core, reentrant: bool
) -> None:
    svfit = wrapped(tiny_model("bert"), store, core, rank=8)
    wanted = gradients(svfit)
    if reentrant:
        svfit.model.enable_input_require_grads()  # type: ignore[operator]  # as such checkpoints ask for
    svfit.model.gradient_checkpointing_enable(  # type: ignore[operator]
        gradient_checkpointing_kwargs={"use_reentrant": reentrant}
    )
    found = gradients(svfit)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


@every_core
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own, of its own doing
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.real)])
def test_a_compiled_layer_is_one_graph_with_the_same_answers(core: Core, backend: str) -> None:
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    made = layer(core)
    x = torch.randn(3, 8, requires_grad=True)
    compiled = torch.compile(made, backend=backend, fullgraph=True)
    found, wanted = compiled(x), made(x)
    torch.testing.assert_close(found, wanted)
    inputs = (x, made.delta["a"])
    g = torch.randn_like(wanted)
    for ours, theirs in zip(torch.autograd.grad(found, inputs, g), torch.autograd.grad(wanted, inputs, g), strict=True):
        torch.testing.assert_close(ours, theirs)


@every_core
def test_a_copy_and_a_pickle_answer_the_same_and_train_alone(core: Core) -> None:
    made = layer(core)
    x = torch.randn(3, 8)
    wanted = made(x)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):  # noqa: S301 (our own bytes)
        assert torch.equal(other(x), wanted)
        with torch.no_grad():
            other.delta["a"].zero_()
        assert torch.equal(made(x), wanted)
        assert isinstance(other.factors, Factors)


@pytest.mark.real  # slow: every process imports torch
@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_processes_train_as_one_does(tmp_path: Path, mode: str) -> None:
    script = Path(__file__).with_name("sharded_training.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29623"]
    done = subprocess.run(
        [*launch, str(script), mode, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    farthest, moved = (float(part) for part in done.stdout.split())
    assert moved > 1e-5, "two steps that did something"
    assert farthest < 1e-3 * moved, "float32 sums in another order"
