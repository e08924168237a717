"""Base models with a head for the task, and merged models read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.model.load import load, load_merged
from pipeline.model.pooled import PooledClassifier, pool
from pipeline.model.source import Source
from serve.errors import InputError

TinyModel = Callable[..., Any]
LABELS = ("hvac", "light", "door")


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_model: TinyModel, tokenizer: Any) -> Callable[..., Source]:
    """`checkpoint(name, part)`: a saved tiny model, or only its encoder, with a tokenizer."""

    def write(name: str = "bert", part: str = "encoder", pooling: str = "", **options: Any) -> Source:
        folder = tmp_path / "base"
        model = tiny_model(name, **options)
        if part == "encoder":
            model = model.base_model
        if part == "encoder without pooler":
            model = type(model.base_model)(model.config, add_pooling_layer=False)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if pooling:
            (folder / "1_Pooling").mkdir()
            (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
        return Source("base", folder)

    return write


def inputs() -> dict[str, torch.Tensor]:
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(**inputs()).logits
    return found


def test_a_checkpoint_that_says_how_it_pools_is_pooled_so(checkpoint: Callable[..., Source]) -> None:
    loaded = load(checkpoint(pooling="mean_tokens"), LABELS)
    assert isinstance(loaded.model, PooledClassifier)
    assert loaded.pooling == "mean"
    assert loaded.whole == ("classifier",)
    assert not any("pooler" in name for name, _ in loaded.model.named_parameters()), "its own pooler has no use"
    assert logits(loaded.model).shape == (2, 3)
    assert loaded.model.config.id2label == {0: "hvac", 1: "light", 2: "door"}


def test_a_checkpoint_that_does_not_say_gets_its_architecture_s_head(checkpoint: Callable[..., Source]) -> None:
    loaded = load(checkpoint(), LABELS)
    assert type(loaded.model).__name__ == "BertForSequenceClassification"
    assert loaded.pooling == "architecture"
    assert loaded.whole == ("classifier",), "the checkpoint had a pooler"


def test_a_pooler_that_the_checkpoint_lacked_is_trained_whole(checkpoint: Callable[..., Source]) -> None:
    loaded = load(checkpoint(part="encoder without pooler"), LABELS)
    assert loaded.whole == ("classifier", "bert.pooler.dense")


@pytest.mark.parametrize(("pooling", "kind"), [("cls", "PooledClassifier"), ("architecture", "Bert")])
def test_a_person_s_pooling_goes_before_the_checkpoint_s(
    checkpoint: Callable[..., Source], pooling: str, kind: str
) -> None:
    loaded = load(checkpoint(pooling="mean_tokens"), LABELS, pooling=pooling)
    assert loaded.pooling == pooling
    assert type(loaded.model).__name__.startswith(kind)


@pytest.mark.parametrize("name", ["bert", "roberta", "albert", "gpt2"])
@pytest.mark.parametrize("pooling", ["architecture", "mean"])
def test_the_encoder_s_weights_are_the_checkpoint_s(
    checkpoint: Callable[..., Source], tiny_model: TinyModel, name: str, pooling: str
) -> None:
    loaded = load(checkpoint(name), LABELS, pooling=pooling)
    encoder = loaded.model.base_model
    wanted = dict(tiny_model(name).base_model.named_parameters())
    found = dict(encoder.named_parameters())
    assert found
    assert all(torch.equal(value, wanted[key]) for key, value in found.items())


def test_a_checkpoint_in_half_precision_is_loaded_in_float32(
    checkpoint: Callable[..., Source], tiny_model: TinyModel
) -> None:
    source = checkpoint()
    tiny_model("bert").base_model.half().save_pretrained(source.folder)
    for pooling in ("mean", "architecture"):
        model = load(source, LABELS, pooling=pooling).model
        assert {value.dtype for value in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("pooling", ["mean", "architecture"])
def test_a_regression_has_one_output(checkpoint: Callable[..., Source], pooling: str) -> None:
    assert logits(load(checkpoint(), (), pooling=pooling).model).shape == (2, 1)


def test_another_number_of_labels_replaces_the_checkpoint_s_head(checkpoint: Callable[..., Source]) -> None:
    loaded = load(checkpoint(part="whole", labels=7), LABELS)
    assert loaded.whole == ("classifier",)
    assert logits(loaded.model).shape == (2, 3)


def test_mean_pooling_ignores_padding_and_cls_takes_the_first(checkpoint: Callable[..., Source]) -> None:
    source = checkpoint()
    for pooling in ("mean", "cls"):
        torch.manual_seed(0)
        model: Any = load(source, LABELS, pooling=pooling).model.eval()
        hidden = torch.arange(24.0).reshape(2, 3, 4)
        mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
        found = pool(hidden, mask, model.config.svfit_pooling)
        wanted = torch.stack([hidden[0, :2].mean(0), hidden[1].mean(0)]) if pooling == "mean" else hidden[:, 0]
        assert torch.equal(found, wanted)
        both = logits(model)
        with torch.no_grad():
            alone = model(input_ids=inputs()["input_ids"][1:, :3], attention_mask=torch.ones(1, 3).long()).logits
        torch.testing.assert_close(both[1:], alone, rtol=1e-5, atol=1e-6)  # float32 sums of another length


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "architecture"])
@pytest.mark.parametrize("labels", [LABELS, ()], ids=["classes", "number"])
def test_a_saved_model_is_loaded_again_with_the_same_answers(
    checkpoint: Callable[..., Source], tmp_path: Path, name: str, pooling: str, labels: tuple[str, ...]
) -> None:
    model = load(checkpoint(name), labels, pooling=pooling, dropout=0.5).model
    model.save_pretrained(tmp_path / "merged")
    again = load_merged(tmp_path / "merged")
    assert type(again) is type(model)
    assert not again.training
    saved, read = model.state_dict(), again.state_dict()
    assert saved.keys() == read.keys()
    assert all(torch.equal(value, read[key]) for key, value in saved.items())
    # the same numbers at other addresses: kernels that take unaligned memory sum in another order
    torch.testing.assert_close(logits(again), logits(model), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_the_head_is_fresh_by_the_seed(checkpoint: Callable[..., Source], name: str) -> None:
    source = checkpoint(name)
    for pooling in ("mean", "architecture"):
        found = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            found.append(logits(load(source, LABELS, pooling=pooling).model))
        assert torch.equal(found[0], found[1])
        assert not torch.equal(found[0], found[2])


def test_a_tokenizer_without_padding_pads_with_its_end(checkpoint: Callable[..., Source], tokenizer: Any) -> None:
    source = checkpoint("gpt2")
    strip(source, pad_token=None, eos_token="[SEP]")  # noqa: S106
    loaded = load(source, LABELS)
    assert loaded.tokenizer.pad_token == "[SEP]"  # noqa: S105
    assert loaded.model.config.pad_token_id == 3
    strip(source, eos_token=None)
    with pytest.raises(InputError, match="has neither a padding nor an end token"):
        load(source, LABELS)


def strip(source: Source, **changes: Any) -> None:
    """Change tokenizer_config.json; None takes a key out."""
    path = source.folder / "tokenizer_config.json"
    document = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    (source.folder / "special_tokens_map.json").unlink(missing_ok=True)


@pytest.mark.parametrize("pooling", ["mean", "architecture"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_weights_that_can_not_be_read_are_told_in_one_line(
    checkpoint: Callable[..., Source], pooling: str, damage: str
) -> None:
    source = checkpoint()
    path = source.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9]) if damage == "truncated" else path.unlink()
    with pytest.raises(InputError) as told:
        load(source, LABELS, pooling=pooling)
    assert str(told.value).startswith("model.base: base")
    assert "\n" not in str(told.value)


def test_a_configuration_of_no_known_model_is_told(checkpoint: Callable[..., Source]) -> None:
    source = checkpoint()
    (source.folder / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(InputError) as told:
        load(source, LABELS)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["bert", "roberta", "albert", "gpt2"])
def test_a_folder_without_a_tokenizer_is_told(checkpoint: Callable[..., Source], name: str) -> None:
    source = checkpoint(name)
    for path in source.folder.glob("*token*"):
        path.unlink()
    with pytest.raises(InputError, match="tokenizer"):
        load(source, LABELS)


def test_a_merged_model_is_refused_as_a_base(checkpoint: Callable[..., Source], tokenizer: Any, tmp_path: Path) -> None:
    load(checkpoint(), LABELS, pooling="mean").model.save_pretrained(tmp_path / "merged")
    tokenizer.save_pretrained(tmp_path / "merged")
    for pooling in ("auto", "mean"):
        with pytest.raises(InputError, match="merged; start from the base"):
            load(Source("merged", tmp_path / "merged"), LABELS, pooling=pooling)


def test_a_merged_folder_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no merged model"):
        load_merged(tmp_path)


@pytest.mark.parametrize("pooling", ["mean", "architecture"])
def test_a_checkpoint_that_lacks_layers_is_refused_instead_of_trained_from_random_numbers(
    checkpoint: Callable[..., Source], pooling: str
) -> None:
    from safetensors.torch import load_file, save_file

    source = checkpoint()
    path = source.folder / "model.safetensors"
    kept = {key: value for key, value in load_file(path).items() if "layer.1." not in key}
    save_file(kept, str(path), metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"base lack 16 of the model's tensors \(.*layer\.1\."):
        load(source, LABELS, pooling=pooling)
