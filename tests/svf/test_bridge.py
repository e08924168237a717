"""SVFit through PEFT's own functions, as LoRA is used."""

from __future__ import annotations

import copy
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from bridge_models import PEFTS_OWN, close, inputs, logits, tiny
from peft import PeftConfig, PeftModel, get_peft_model
from peft.utils import PeftType
from safetensors.torch import load_file, save_file

import pipeline.svf.bridge as bridge
from export.core import Core
from export.store import FactorStore
from pipeline.svf import wrap
from pipeline.svf.bridge import SVFitConfig
from serve.errors import InputError, UsageError

pytestmark = pytest.mark.filterwarnings(PEFTS_OWN)
KINDS = ("bert", "roberta", "gpt2", "llama")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SVFIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def peft(kind: str, seed: int = 0, **options: Any) -> Any:
    return get_peft_model(tiny(kind, seed), SVFitConfig(task_type="SEQ_CLS", **options)).eval()


def train(model: Any, steps: int = 2, rate: float = 0.05, seed: int = 3) -> None:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
    labels = torch.randint(0, 3, (3,), generator=torch.Generator().manual_seed(seed))
    for _ in range(steps):
        optimizer.zero_grad()
        model(**inputs(), labels=labels).loss.backward()
        optimizer.step()


def deltas(model: Any, name: str = "default") -> dict[str, torch.Tensor]:
    ending = f".svfit_delta.{name}"
    return {key.removesuffix(ending): value for key, value in model.named_parameters() if key.endswith(ending)}


@pytest.mark.parametrize("kind", KINDS)
def test_trained_saved_and_loaded_it_gives_the_same_outputs(kind: str, tmp_path: Path) -> None:
    model = peft(kind, rank=6)
    assert torch.equal(logits(model), logits(tiny(kind)))
    train(model)
    trained = logits(model)
    assert not close(trained, logits(tiny(kind)))
    assert all(bool((value != 0).any()) for value in deltas(model).values())
    model.save_pretrained(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(tiny(kind), tmp_path / "adapter").eval()
    assert isinstance(PeftConfig.from_pretrained(str(tmp_path / "adapter")), SVFitConfig)
    assert torch.equal(logits(loaded), trained)
    with loaded.disable_adapter():
        assert torch.equal(logits(loaded), logits(tiny(kind)))
    assert torch.equal(logits(loaded), trained)


@pytest.mark.parametrize("kind", KINDS)
def test_merged_and_unloaded_it_is_the_plain_model_with_the_same_outputs(kind: str) -> None:
    model = peft(kind)
    train(model)
    trained = logits(model)
    merged = model.merge_and_unload(safe_merge=True)
    assert close(logits(merged), trained)
    assert merged.state_dict().keys() == tiny(kind).state_dict().keys()
    assert type(merged) is type(tiny(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_switching_from_a_to_b_and_back_restores_a(kind: str) -> None:
    model = peft(kind)
    train(model)
    model.add_adapter("B", SVFitConfig(task_type="SEQ_CLS"))
    first = logits(model)
    model.set_adapter("B")
    assert close(logits(model), logits(tiny(kind)))
    train(model, seed=4)
    second = logits(model)
    assert not close(second, first)
    model.set_adapter("default")
    assert torch.equal(logits(model), first)
    model.set_adapter("B")
    assert torch.equal(logits(model), second)
    model.delete_adapter("default")
    assert torch.equal(logits(model), second)


@pytest.mark.parametrize("kind", KINDS)
def test_core_and_bridge_give_the_same_outputs_for_one_delta(kind: str, cache: Path) -> None:
    model = peft(kind, rank=0.9)
    svfit = wrap(tiny(kind), rank=0.9, store=FactorStore(cache))
    svfit.add("default")
    svfit.activate("default")
    torch.manual_seed(5)
    with torch.no_grad():
        for name, value in deltas(model).items():
            value.normal_(0, 0.3)
            svfit.layers[name.removeprefix("base_model.model.")].delta["default"].copy_(value)
    assert model.base_model.basis.id == svfit.basis.id
    assert len(deltas(model)) == len(svfit.layers)
    assert torch.equal(logits(model), logits(svfit.model))


OTHERS = [{"core": "banded", "bands": 1}, {"core": "banded", "bands": 2}, {"core": "dense"}]


@pytest.mark.parametrize("options", OTHERS, ids=str)
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_other_cores_train_save_load_and_merge(kind: str, options: dict[str, Any], tmp_path: Path, cache: Path) -> None:
    model = peft(kind, rank=5, **options)
    assert torch.equal(logits(model), logits(tiny(kind)))
    train(model)
    trained, core = logits(model), Core.from_dict(options)
    for value in deltas(model).values():
        core.check(value, 5, "delta")
        assert int((value != 0).sum()) == core.count(5)
    model.save_pretrained(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(tiny(kind), tmp_path / "adapter").eval()
    assert torch.equal(logits(loaded), trained)
    svfit = wrap(tiny(kind), rank=5, store=FactorStore(cache), core=core)
    svfit.add("default")
    svfit.activate("default")
    with torch.no_grad():
        for name, value in deltas(model).items():
            svfit.layers[name.removeprefix("base_model.model.")].delta["default"].copy_(value)
        for name, value in svfit.trainable()["head"]:
            owner, _, leaf = name.partition(".")
            value.copy_(model.get_parameter(f"base_model.model.{owner}.modules_to_save.default.{leaf}"))
    assert torch.equal(logits(svfit.model), trained)
    assert close(logits(model.merge_and_unload()), trained)


def test_a_second_adapter_with_another_core_is_refused_and_changes_nothing() -> None:
    model = peft("bert", rank=3, core="dense")
    with pytest.raises(
        UsageError, match=r"have the core dense, the new one banded \(1 on either side\); all share one"
    ):
        model.add_adapter("B", SVFitConfig(task_type="SEQ_CLS", rank=3, core="banded", bands=1))
    assert list(model.peft_config) == ["default"]


def test_weights_of_another_core_are_refused_also_where_their_shape_fits(tmp_path: Path) -> None:
    peft("bert", rank=3, core="dense").save_pretrained(tmp_path)
    model = peft("bert", rank=3, core="banded", bands=1)
    with pytest.raises(InputError, match="the weights are of another core than banded"):
        model.load_adapter(tmp_path, "default")


@pytest.mark.parametrize(
    "options", [{"core": "round"}, {"core": "banded"}, {"core": "dense", "bands": 2}, {"bands": 1}], ids=str
)
def test_a_core_that_can_not_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="adapter core"):
        SVFitConfig(**options)


def test_a_dense_core_that_is_a_whole_weight_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a dense core of rank .* as many as its weight has; use a smaller rank"):
        peft("bert", core="dense")


def test_an_adapter_of_a_basis_of_chosen_directions_is_loaded(tmp_path: Path, cache: Path) -> None:
    chosen = {"bert.encoder.layer.0.output.dense": [0, 3, 4], "bert.encoder.layer.1.output.dense": [2, 7]}
    svfit = wrap(tiny("bert"), store=FactorStore(cache), directions=chosen)
    config = SVFitConfig(task_type="SEQ_CLS", basis=svfit.basis.to_dict(), basis_id=svfit.basis.id)
    model: Any = get_peft_model(tiny("bert"), config).eval()
    train(model)
    assert {value.numel() for value in deltas(model).values()} == {3, 2}
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(PeftModel.from_pretrained(tiny("bert"), tmp_path).eval()), logits(model))


def test_unmerging_restores_the_base_bit_for_bit() -> None:
    model = peft("bert")
    train(model)
    before, trained = {k: v.clone() for k, v in model.state_dict().items()}, logits(model)
    model.merge_adapter()
    assert close(logits(model), trained)
    model.merge_adapter()
    model.unmerge_adapter()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(logits(model), trained)
    model.merge_adapter()
    unloaded, base = model.unload().bert.state_dict(), tiny("bert").bert.state_dict()
    assert all(torch.equal(value, unloaded[key]) for key, value in base.items())


def test_only_delta_and_head_train() -> None:
    model = peft("roberta")
    trains = {name for name, value in model.named_parameters() if value.requires_grad}
    assert all(".svfit_delta.default" in name or ".modules_to_save.default." in name for name in trains)
    assert any(".classifier.modules_to_save.default.out_proj" in name for name in trains)
    model.add_adapter("B", SVFitConfig(task_type="SEQ_CLS"))
    assert {name for name, value in model.named_parameters() if value.requires_grad} == trains


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_leaves_delta_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    model = peft("bert")
    train(model)
    exact = {name: value.detach().clone() for name, value in deltas(model).items()}
    model.to(dtype)
    assert all(
        value.dtype == torch.float32 and torch.equal(value, exact[name]) for name, value in deltas(model).items()
    )
    assert logits(model).dtype == dtype
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tiny("bert"), tmp_path, low_cpu_mem_usage=True, autocast_adapter_dtype=False)
    assert all(torch.equal(value, exact[name]) for name, value in deltas(loaded).items())


def test_an_adapter_of_other_base_weights_is_refused(tmp_path: Path) -> None:
    peft("bert").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="belongs to other base weights"):
        PeftModel.from_pretrained(tiny("bert", seed=1), tmp_path)


def test_weights_of_another_basis_are_refused_also_for_an_adapter_that_is_there(tmp_path: Path) -> None:
    peft("bert").save_pretrained(tmp_path)
    model = peft("bert", seed=1)
    with pytest.raises(InputError, match="were trained on basis"):
        model.load_adapter(tmp_path, "default")


def test_weights_that_name_no_basis_are_refused(tmp_path: Path) -> None:
    peft("bert").save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file({name: value for name, value in load_file(path).items() if not name.endswith("basis_id")}, path)
    with pytest.raises(InputError, match="name no basis"):
        PeftModel.from_pretrained(tiny("bert"), tmp_path)


def test_a_loaded_adapter_trains_on_beside_another(tmp_path: Path) -> None:
    model = peft("bert", rank=5)
    train(model)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tiny("bert"), tmp_path, is_trainable=True).eval()
    loaded.load_adapter(tmp_path, "B")
    train(loaded)
    after = logits(loaded)
    loaded.set_adapter("B")
    assert torch.equal(logits(loaded), logits(model))
    train(model)
    assert torch.equal(after, logits(model))


def test_a_deep_copy_answers_alike_and_stands_alone() -> None:
    model = peft("bert")
    train(model)
    first = logits(model)
    copied = copy.deepcopy(model)
    train(model)
    assert torch.equal(logits(copied), first)
    assert not close(logits(model), first)


def test_an_adapter_whose_factors_are_not_here_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peft("bert").save_pretrained(tmp_path)
    monkeypatch.setenv("SVFIT_CACHE", str(tmp_path / "empty"))
    with pytest.raises(InputError, match="no factors for layer"):
        PeftModel.from_pretrained(tiny("bert"), tmp_path)


def test_an_adapter_that_lies_about_its_basis_is_refused(tmp_path: Path) -> None:
    peft("bert").save_pretrained(tmp_path)
    config = tmp_path / "adapter_config.json"
    config.write_text(config.read_text().replace('"rank": 16', '"rank": 15'))
    with pytest.raises(InputError, match="but describes"):
        PeftModel.from_pretrained(tiny("bert"), tmp_path)


def test_a_second_adapter_on_another_basis_is_refused_and_changes_nothing() -> None:
    model = peft("bert")
    with pytest.raises(UsageError, match="share one"):
        model.add_adapter("B", SVFitConfig(task_type="SEQ_CLS", rank=2))
    assert list(model.peft_config) == ["default"]
    assert all(list(layer.svfit_delta) == ["default"] for layer in model.base_model._layers())
    assert close(logits(model), logits(tiny("bert")))


def test_a_config_serves_several_models() -> None:
    config = SVFitConfig(task_type="SEQ_CLS", rank=2, target_modules=["query"])
    first: Any = get_peft_model(tiny("bert"), config)
    second: Any = get_peft_model(tiny("bert", seed=1), config)
    assert config.basis is None
    assert first.base_model.basis.id != second.base_model.basis.id
    assert len(deltas(second)) == 2


@pytest.mark.filterwarnings("ignore:.*for a second time", "ignore:Already found a `peft_config` attribute")
def test_a_model_is_not_wrapped_twice() -> None:
    model = peft("bert")
    with pytest.raises(UsageError, match="use add_adapter"):
        get_peft_model(model.base_model.model, SVFitConfig(task_type="SEQ_CLS", rank=2))


def test_injection_without_a_peft_model_is_refused() -> None:
    with pytest.raises(ValueError, match="use `get_peft_model` instead"):
        tiny("bert").add_adapter(SVFitConfig())


def test_adapters_by_row_are_refused() -> None:
    model = peft("bert")
    with pytest.raises(UsageError, match="adapter_names is not for SVFit"):
        logits(model, adapter_names=["default", "__base__", "default"])


def test_several_active_adapters_and_sums_are_refused() -> None:
    model = peft("bert")
    model.add_adapter("B", SVFitConfig(task_type="SEQ_CLS"))
    with pytest.raises(UsageError, match="one adapter at a time"):
        model.base_model.set_adapter(["default", "B"])
    with pytest.raises(UsageError, match="doesn't combine adapters"):
        model.add_weighted_adapter(["default", "B"], [0.5, 0.5], "C")
    with pytest.raises(UsageError, match="call set_adapter first"):
        model.merge_and_unload(adapter_names=["B"])
    assert model.active_adapters == ["default"]


@pytest.mark.parametrize("safe_merge", [True, False])
def test_nan_is_never_merged_and_no_layer_is_changed(safe_merge: bool) -> None:
    model = peft("bert")
    train(model)
    before = {name: value.clone() for name, value in model.state_dict().items() if "base_layer" in name}
    with torch.no_grad():
        list(deltas(model).values())[-1][0] = float("nan")
    with pytest.raises(InputError, match="holds NaN or infinity"):
        model.merge_and_unload(safe_merge=safe_merge)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items() if name in before)


def test_a_merge_that_fails_halfway_leaves_no_layer_merged() -> None:
    model = peft("bert").half()
    with torch.no_grad():
        list(deltas(model).values())[-1][0] = 1e7
    with pytest.raises(InputError, match="does not fit into float16"):
        model.merge_adapter()
    assert not any(layer.merged_adapters for layer in model.base_model._layers())


def test_nothing_else_is_active_or_added_while_one_is_merged() -> None:
    model = peft("bert")
    model.add_adapter("B", SVFitConfig(task_type="SEQ_CLS"))
    model.merge_adapter()
    with pytest.raises(UsageError, match="call unmerge_adapter"):
        model.set_adapter("B")
    with pytest.raises(UsageError, match="before adding another"):
        model.add_adapter("C", SVFitConfig(task_type="SEQ_CLS"))


def test_registering_again_changes_nothing() -> None:
    members, member = list(PeftType), PeftType("SVFIT")
    bridge._register()
    importlib.reload(bridge)
    assert list(PeftType) == members
    assert PeftType["SVFIT"] is getattr(PeftType, "SVFIT") is member  # noqa: B009 (mypy knows PEFT's own members)


def test_peft_learns_of_it_only_when_the_bridge_is_imported() -> None:
    code = (
        "import pipeline.svf, peft; assert 'SVFIT' not in peft.PeftType.__members__; "
        "import pipeline.svf.bridge; assert 'SVFIT' in peft.PeftType.__members__"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_transformers_trainer_trains_and_saves_it(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    model = get_peft_model(tiny("roberta"), SVFitConfig(task_type="SEQ_CLS", rank=4))
    ids, mask = inputs().values()
    rows = [{"input_ids": i, "attention_mask": m, "labels": n} for n, (i, m) in enumerate(zip(ids, mask, strict=True))]
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, learning_rate=0.1, report_to=[], use_cpu=True, disable_tqdm=True
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "adapter_model.safetensors").is_file()
    loaded = PeftModel.from_pretrained(tiny("roberta"), tmp_path / "saved").eval()
    assert torch.equal(logits(loaded), logits(model.eval()))
    assert not close(logits(loaded), logits(tiny("roberta")))
