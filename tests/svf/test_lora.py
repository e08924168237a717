"""An adapter as LoRA gives the same outputs in stock PEFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bridge_models import PEFTS_OWN, close, logits, tiny
from click.testing import CliRunner
from peft import PeftModel
from safetensors.torch import load_file

from export.adapter import Adapter
from export.basis import Basis, LayerBasis, tensor_sha256
from export.core import Core
from export.fold import weight_change
from export.lora import to_lora
from export.store import FactorStore
from pipeline.cli import main
from pipeline.svf import SVFit, wrap
from pipeline.svf.decompose import decompose
from pipeline.svf.inject import head_modules
from pipeline.svf.targets import find_targets
from pipeline.svf.weights import oriented_weight
from serve.errors import InputError

pytestmark = pytest.mark.filterwarnings(PEFTS_OWN)


def trained(kind: str, root: Path, **options: Any) -> SVFit:
    """A wrapped model whose adapter moved, as training would: some directions, the head, and not the third layer."""
    svfit = wrap(tiny(kind), store=FactorStore(root), **options)
    svfit.add("default")
    svfit.activate("default")
    torch.manual_seed(7)
    with torch.no_grad():
        for position, layer in enumerate(svfit.layers.values()):
            if position != 2:
                layer.delta["default"].normal_(0, 0.3)[1] = 0.0
        for _, parameter in svfit.trainable()["head"]:
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return svfit


def made(kind: str, core: Core, root: Path, whole: bool) -> tuple[Adapter, Any]:
    """An adapter of a core, unless `whole` on some directions of some layers; and the model folded with it by hand."""
    store, model = FactorStore(root), tiny(kind)
    found = decompose(find_targets(model, "all-linear", head_modules(model)), "full", store)
    torch.manual_seed(7)
    layers, delta, sigma = {}, {}, {}
    for place, (name, layer) in enumerate(found.basis.layers.items()):
        full = found.factors[name]
        places = list(range(full.rank)) if whole else [1, 2, 4, 7, 8, 11][place % 3 :]
        kept, rank = full.take(places), len(places)
        if whole or place != 1:
            digest = tensor_sha256(kept.U, kept.S, kept.Vh)
            layers[name] = LayerBasis(layer.shape, rank, layer.weight_sha256, digest, tuple(places))
            values = torch.randn(core.shape(rank)) * core.mask(rank) * 0.3
            values[..., -1] = 0  # some direction that only others move, or nothing at all
            delta[name], sigma[name] = values, kept.S
            with torch.no_grad():
                change = kept.U.double() @ core.matrix(values.double()) @ kept.Vh.double()
                weight = oriented_weight(model.get_submodule(name))
                weight.copy_((weight.double() + change).float())
    heads = {key: value for key, value in model.named_parameters() if key.split(".")[0] in head_modules(model)}
    for value in heads.values():
        value.data.add_(torch.randn_like(value) * 0.2)
    modules = {key: value.detach().clone() for key, value in heads.items()}
    return Adapter(Basis(layers), delta, sigma, modules, core=core), model


CORES = (Core(), Core("banded", 1), Core("banded", 3), Core("dense"))


@pytest.mark.parametrize("whole", [True, False], ids=["full", "chosen directions"])
@pytest.mark.parametrize("core", CORES, ids=str)
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_every_core_gives_the_same_outputs_in_stock_peft(kind: str, core: Core, whole: bool, tmp_path: Path) -> None:
    adapter, model = made(kind, core, tmp_path, whole)
    assert whole or all(layer.directions for layer in adapter.basis.layers.values())
    summary = to_lora(adapter, FactorStore(tmp_path), tmp_path, conv1d=kind == "gpt2")
    loaded = PeftModel.from_pretrained(tiny(kind), tmp_path).eval()
    assert close(logits(loaded), logits(model))
    assert not close(logits(tiny(kind)), logits(model))
    assert (summary["core"], summary.get("bands", 0)) == (core.kind, core.bands)
    assert summary["layers"] == len(adapter.basis.layers)
    assert summary["adapter_values"] == sum(core.count(layer.rank) for layer in adapter.basis.layers.values())


@pytest.mark.parametrize("core", CORES, ids=str)
def test_lora_s_product_is_the_change_of_the_weight(core: Core, tmp_path: Path) -> None:
    store = FactorStore(tmp_path)
    adapter, _ = made("bert", core, tmp_path, whole=False)
    to_lora(adapter, store, tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    for name, factors in store.load(adapter.basis):
        A, B = (tensors[f"base_model.model.{name}.lora_{part}.weight"].double() for part in "AB")
        change = weight_change(factors, adapter.delta[name], core)
        torch.testing.assert_close(B @ A, change, rtol=0, atol=1e-7 * float(change.abs().max()))  # B rounded once
        assert A.shape[0] == factors.rank - (core.kind != "banded"), "a direction that gives nothing is left out"


@pytest.mark.parametrize(
    ("kind", "rank"), [("bert", "full"), ("roberta", 0.8), ("gpt2", {"attn": 3, ".": "full"}), ("pooled", 4)]
)
def test_stock_peft_gives_the_same_outputs(kind: str, rank: Any, tmp_path: Path) -> None:
    svfit = trained(kind, tmp_path, rank=rank)
    summary = to_lora(svfit.export("default"), FactorStore(tmp_path), tmp_path, conv1d=kind == "gpt2")
    expected = logits(svfit.model)
    loaded = PeftModel.from_pretrained(tiny(kind), tmp_path).eval()
    assert summary["layers"] == len(svfit.layers) - 1
    assert close(logits(loaded), expected)
    assert not close(logits(tiny(kind)), expected)
    with loaded.disable_adapter():
        assert torch.equal(logits(loaded), logits(tiny(kind)))
    assert close(logits(loaded.merge_and_unload()), expected)


def test_trained_norms_travel_with_it(tmp_path: Path) -> None:
    svfit = trained("bert", tmp_path, train_layernorm=True)
    to_lora(svfit.export("default", {"whole_modules": svfit.whole}), FactorStore(tmp_path), tmp_path)
    loaded = PeftModel.from_pretrained(tiny("bert"), tmp_path).eval()
    assert close(logits(loaded), logits(svfit.model))


def test_a_bias_trained_by_itself_is_refused(tmp_path: Path) -> None:
    svfit = trained("bert", tmp_path, train_bias=True)
    with pytest.raises(InputError, match="bias was trained by itself"):
        to_lora(svfit.export("default"), FactorStore(tmp_path), tmp_path)


@pytest.mark.parametrize("task", ["token-classification", "image-classification", "text-embedding"])
def test_another_task_s_adapter_is_refused(task: str, tmp_path: Path) -> None:
    adapter = trained("bert", tmp_path).export("default", {"task": task})
    with pytest.raises(InputError, match=f"the adapter is for {task}; as LoRA only text-classification and"):
        to_lora(adapter, FactorStore(tmp_path / "store"), tmp_path)


def test_an_adapter_that_moved_nothing_is_refused(tmp_path: Path) -> None:
    svfit = wrap(tiny("bert"), store=FactorStore(tmp_path))
    svfit.add("default")
    with pytest.raises(InputError, match="moved no singular direction"):
        to_lora(svfit.export("default"), FactorStore(tmp_path), tmp_path)


def test_factors_that_are_not_here_are_refused(tmp_path: Path) -> None:
    svfit = trained("bert", tmp_path)
    with pytest.raises(InputError, match="no factors for layer"):
        to_lora(svfit.export("default"), FactorStore(tmp_path / "empty"), tmp_path)


def test_the_command_writes_what_peft_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVFIT_CACHE", str(tmp_path))
    base, source, output = tmp_path / "base", tmp_path / "adapter", tmp_path / "lora"
    tiny("gpt2").save_pretrained(base)
    svfit = trained("gpt2", tmp_path)
    source.mkdir()
    svfit.save(source, "default", {"base": {"name": str(base)}, "labels": ["a", "b", "c"]})
    result = CliRunner().invoke(main, ["adapter", "to-lora", str(source), str(output), "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["modules_to_save"] == ["score"]
    assert json.loads((output / "adapter_config.json").read_text())["fan_in_fan_out"] is True
    assert "PeftModel.from_pretrained" in (output / "README.md").read_text()
    assert close(logits(PeftModel.from_pretrained(tiny("gpt2"), output).eval()), logits(svfit.model))
    again = CliRunner().invoke(main, ["adapter", "to-lora", str(source), str(output)])
    assert again.exit_code == 2
    assert "name a new folder" in again.stderr


def test_the_command_says_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVFIT_CACHE", str(tmp_path))
    source = tmp_path / "adapter"
    source.mkdir()
    trained("bert", tmp_path).save(source, "default", {"base": {"name": "some/where"}})
    result = CliRunner().invoke(main, ["adapter", "to-lora", str(source), str(tmp_path / "lora")])
    assert result.exit_code == 0, result.stderr
    assert "rank 15" in result.stdout
    assert "some/where isn't on this machine" in result.stderr
