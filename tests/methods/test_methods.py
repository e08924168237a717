"""Each method trains what it says, and nothing else moves."""

from __future__ import annotations

import dataclasses
import importlib.util
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipeline.methods import KINDS, Method, check_name, method, methods
from pipeline.model.load import Loaded
from serve.errors import MissingDependency, UsageError

# A tiny bert has 2 blocks of 4 square layers (32 × 32), one up (48 × 32) and one down (32 × 48), and a pooler that is
# no head: 32 × 32. Every smaller side is 32.
LAYERS = [(32, 32)] * 4 + [(48, 32), (32, 48)]
ALL = LAYERS * 2 + [(32, 32)]
HEAD = 32 * 3 + 3


@pytest.fixture
def loaded(tiny_model: Callable[..., Any], tokenizer: Any) -> Loaded:
    return Loaded(tiny_model("bert"), tokenizer, ("classifier",), "architecture")


def step(tuned: Any, rate: float = 0.05) -> None:
    """One step of Adam on a made-up batch, so that whatever can move moves."""
    values = [value for group in tuned.trainable().values() for _, value in group]
    optimizer = torch.optim.AdamW(values, lr=rate)
    tuned.model.train()
    rows = torch.arange(4, 16).reshape(3, 4)
    loss = torch.nn.functional.cross_entropy(tuned.model(input_ids=rows).logits, torch.tensor([0, 1, 2]))
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("svfit", 32 * len(ALL)),
        ("svfit:5", 5 * len(ALL)),
        ("banded", (32 + 2 * 31) * len(ALL)),
        ("banded:2:8", (8 + 2 * 7 + 2 * 6) * len(ALL)),
        ("dense:6", 36 * len(ALL)),
        ("lora", sum(8 * (out + inp) for out, inp in ALL)),
        ("pissa:4", sum(4 * (out + inp) for out, inp in ALL)),
        ("head", 0),
    ],
)
def test_trained_values_are_those_counted_by_hand(loaded: Loaded, name: str, values: int) -> None:
    chosen = method(name)
    assert chosen.count(chosen.prepare(loaded)) == {"adapter": values, "head": HEAD}


def test_full_trains_every_parameter_the_embeddings_included(loaded: Loaded) -> None:
    everything = sum(value.numel() for value in loaded.model.parameters())
    chosen = method("full")
    tuned = chosen.prepare(loaded)
    assert chosen.count(tuned) == {"adapter": everything - HEAD, "head": HEAD}
    before = {name: value.detach().clone() for name, value in tuned.model.named_parameters()}
    step(tuned)
    still = {name for name, value in tuned.model.named_parameters() if torch.equal(value, before[name])}
    assert still == set()


@pytest.mark.parametrize("name", ["svfit", "banded:1:8", "dense:6", "lora", "pissa:4", "head"])
def test_only_what_is_trained_moves(loaded: Loaded, name: str) -> None:
    tuned = method(name).prepare(loaded)
    groups = tuned.trainable()
    ours = {id(value) for group in groups.values() for _, value in group}
    before = {key: value.detach().clone() for key, value in tuned.model.named_parameters()}
    step(tuned)
    for key, value in tuned.model.named_parameters():
        if id(value) not in ours:
            assert torch.equal(value, before[key]), key
            assert value.grad is None, key
    assert all(value.grad is not None for _, value in groups["head"])
    if groups["adapter"]:
        moved = [key for key, value in tuned.model.named_parameters() if not torch.equal(value, before[key])]
        assert len(moved) > len(groups["head"])


@pytest.mark.parametrize("name", ["svfit", "banded", "dense:6", "lora"])
def test_a_method_starts_from_the_model_as_it_was(tiny_model: Callable[..., Any], loaded: Loaded, name: str) -> None:
    rows = torch.arange(4, 16).reshape(3, 4)
    wanted = tiny_model("bert")(input_ids=rows).logits
    model = method(name).prepare(loaded).model.eval()
    assert torch.allclose(model(input_ids=rows).logits, wanted, atol=1e-5)  # float32 sums in another order


def test_head_alone_sends_no_gradient_through_the_encoder(loaded: Loaded) -> None:
    tuned = method("head").prepare(loaded)
    encoded = tuned.model.bert(input_ids=torch.arange(4, 16).reshape(3, 4)).pooler_output
    assert not encoded.requires_grad


@pytest.mark.parametrize("name", ["lora", "pissa:4"])
@pytest.mark.parametrize("targets", ["all-linear", r".*\.query", ["attention.output.dense"]])
def test_lora_is_on_the_very_layers_that_svfit_scales(
    tiny_model: Callable[..., Any], tokenizer: Any, name: str, targets: Any
) -> None:
    def fresh() -> Loaded:
        return Loaded(tiny_model("bert"), tokenizer, ("classifier",), "architecture")

    scaled = set(method("svfit", targets).prepare(fresh()).layers)
    tuned = method(name, targets).prepare(fresh())
    lora = {key.partition(".lora_")[0] for key, _ in tuned.trainable()["adapter"]}
    assert lora == scaled


def test_lora_takes_layers_that_store_their_weights_transposed(tiny_model: Callable[..., Any], tokenizer: Any) -> None:
    chosen = method("lora:2")
    tuned = chosen.prepare(Loaded(tiny_model("gpt2"), tokenizer, ("score",), "architecture"))
    shapes = [(96, 32), (32, 32), (128, 32), (32, 128)] * 2
    assert chosen.count(tuned)["adapter"] == sum(2 * (out + inp) for out, inp in shapes)


def test_rates_are_as_many_as_asked_around_the_middle_one() -> None:
    assert method("svfit").rates(1) == [0.03]
    assert method("lora").rates(3) == [0.00032, 0.001, 0.0032]
    assert method("svfit").rates(2) == [0.017, 0.053]
    assert dataclasses.replace(method("lora"), rate=0.00125).rates(3) == [0.0004, 0.00125, 0.004]
    assert len({len(method(name).rates(4)) for name in ("svfit", "banded", "dense", "lora", "pissa", "full")}) == 1


def test_every_kind_has_a_method_that_goes_to_another_process() -> None:
    for kind in KINDS:
        found = pickle.loads(pickle.dumps(method(kind)))  # noqa: S301 (our own bytes)
        assert isinstance(found, Method)
        assert found.title == method(kind).title


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lora:0", "is not understood; lora is LoRA of rank R"),
        ("lora:8:8", "is not understood"),
        ("lora:-1", "is not understood"),
        ("lora:", "is not understood"),
        ("lora:²", "is not understood"),
        ("svfit:9999999", "is not understood"),
        ("full:3", "full is every weight"),
        ("loar", "no method 'loar'; available: svfit, banded, dense, lora, pissa, full, head; did you mean 'lora'?"),
    ],
)
def test_a_name_that_is_none_says_what_there_is(text: str, said: str) -> None:
    with pytest.raises(UsageError, match="--methods: ") as caught:
        method(text)
    assert said in str(caught.value)


def test_a_list_keeps_its_order_and_refuses_twins_and_nothing() -> None:
    assert methods(" full,svfit , lora:16") == ["full", "svfit", "lora:16"]
    with pytest.raises(UsageError, match="'lora' is named twice; name each method once"):
        methods("lora,head,lora")
    with pytest.raises(UsageError, match="names no method; available: svfit"):
        methods(" , ")


def test_without_peft_its_methods_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "peft" else found(name))
    with pytest.raises(MissingDependency, match=r"--methods lora needs peft.*pip install 'svfit\[train\]'"):
        check_name("lora")
    assert check_name("svfit:8") == ("svfit", [8])
