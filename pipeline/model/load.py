"""Load a base model for a task: pooled as its checkpoint says, or with its architecture's own head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline.model.pooled import PooledClassifier
from pipeline.model.source import Source
from serve.errors import InputError


@dataclass(frozen=True)
class Loaded:
    """A model with a head for the task, what reads its rows, and the modules that must be trained whole."""

    model: PreTrainedModel
    reader: Any
    """What makes the model's inputs of rows, with `save_pretrained`: of texts the tokenizer."""
    whole: tuple[str, ...]
    pooling: str
    """`mean`, `cls`, or `architecture` for the architecture's own head."""
    width: int = 0
    """Numbers of an output; 0: as many as there are labels."""
    dimensions: tuple[int, ...] = ()
    """The first numbers of an embedding that have to serve alone too, besides all of them."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Raises `InputError` where the model takes no text."""
        if not isinstance(self.reader, PreTrainedTokenizerBase):
            raise InputError(f"{type(self.model).__name__}: takes no text")
        return self.reader


def load(source: Source, labels: Sequence[str], *, pooling: str = "auto", dropout: float = 0.1) -> Loaded:
    """The base model in float32 with a fresh head: one output a label, or one number where there are none.

    Raises `InputError` for a folder that transformers can't read or a tokenizer that has no fast form.
    """
    tokenizer = load_tokenizer(source.folder)
    config = read_config(source)
    name_labels(config, labels)
    chosen = (source.pooling() or "architecture") if pooling == "auto" else pooling
    if chosen == "architecture":
        model, missing = _with_own_head(source, config)
    else:
        config.svfit_pooling, config.svfit_dropout = chosen, dropout
        model, missing = PooledClassifier(config, bare(source, config)), set()
    set_pad(model, tokenizer, source)
    return Loaded(model, tokenizer, whole_modules(model, missing), chosen)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a model folder. Raises `InputError` where there is none: a device needs it."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{folder}: no tokenizer that transformers can read ({first_line(error)})") from None
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # transformers makes an empty one where files are missing
        raise InputError(f"{folder}: has no tokenizer files (tokenizer.json, or a vocabulary)")
    if not tokenizer.is_fast:
        raise InputError(f"{folder}: its tokenizer has no fast form (tokenizer.json), which a device needs")
    return tokenizer


def own_head_class() -> Any:
    """transformers' auto class for the task, as optimum's table of tasks names it."""
    from optimum.exporters.tasks import TasksManager

    return TasksManager.get_model_class_for_task("text-classification", framework="pt", library="transformers")


def load_merged(folder: Path) -> PreTrainedModel:
    """A model that `merge` wrote, in evaluation mode. Raises `InputError` where it can't be read."""
    return read_merged(
        folder, lambda config: PooledClassifier if hasattr(config, "svfit_pooling") else own_head_class()
    )


def read_merged(folder: Path, kind: Callable[[PretrainedConfig], Any]) -> PreTrainedModel:
    """The same of the class that `kind` gives for its configuration."""
    try:
        config = AutoConfig.from_pretrained(folder)
        model: PreTrainedModel = kind(config).from_pretrained(folder, config=config)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder}: no merged model that transformers can read ({first_line(error)})") from None
    model.eval()
    return model


def name_labels(config: PretrainedConfig, labels: Sequence[str]) -> None:
    """One output a label, or one where there are none."""
    config.num_labels = max(1, len(labels))
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}


def read_config(source: Source) -> PretrainedConfig:
    """A base model's configuration. Raises `InputError`, also for a model that svfit merged."""
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(source.folder)
    except (OSError, ValueError) as error:
        raise InputError(f"model.base: {source.name}: transformers can't read it ({first_line(error)})") from None
    if hasattr(config, "svfit_pooling"):
        raise InputError(
            f"model.base: {source.name} is a model that svfit merged; start from the base that it was made from"
        )
    return config


def _with_own_head(source: Source, config: PretrainedConfig) -> tuple[PreTrainedModel, set[str]]:
    try:
        model, report = own_head_class().from_pretrained(
            source.folder, config=config, output_loading_info=True, ignore_mismatched_sizes=True, dtype="float32"
        )
    except ValueError as error:
        raise InputError(f"model.base: {source.name} has no sequence classifier ({first_line(error)})") from None
    except (OSError, SafetensorError) as error:
        raise unreadable(source, error) from None
    missing = set(report["missing_keys"])
    refuse_random(source, {key for key in missing if key.startswith(f"{model.base_model_prefix}.")})
    return model, missing


def bare(source: Source, config: PretrainedConfig) -> nn.Module:
    """The encoder in float32 without a head of any kind. Raises `InputError` for weights that can't be read, or lack
    some of it."""
    options: dict[str, Any] = {"config": config, "dtype": "float32", "output_loading_info": True}
    try:
        try:
            encoder, report = AutoModel.from_pretrained(source.folder, add_pooling_layer=False, **options)
        except TypeError:  # an architecture whose models never have a pooler
            encoder, report = AutoModel.from_pretrained(source.folder, **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise unreadable(source, error) from None
    refuse_random(source, set(report["missing_keys"]))
    made: nn.Module = encoder
    return made


def refuse_random(source: Source, missing: set[str]) -> None:
    """A pooler may be missing from a checkpoint, and is then trained whole; a layer may not: it would be random."""
    layers = sorted(key for key in missing if "pooler" not in key)
    if layers:
        raise InputError(
            f"model.base: the weights of {source.name} lack {len(layers)} of the model's tensors ({layers[0]}, ...); "
            "they belong to another class of model, and training would start from random numbers"
        )


def unreadable(source: Source, error: Exception) -> InputError:
    """What is raised for weights that can't be read."""
    return InputError(f"model.base: {source.name}: transformers can't read its weights ({first_line(error)})")


def whole_modules(model: PreTrainedModel, missing: set[str]) -> tuple[str, ...]:
    """Modules outside the base model, and modules inside it that the checkpoint didn't have (a pooler)."""
    from pipeline.svf import head_modules

    whole = head_modules(model)
    fresh = {key.rpartition(".")[0] for key in missing}
    whole += sorted(name for name in fresh if not any(name == head or name.startswith(f"{head}.") for head in whole))
    return tuple(whole)


def set_pad(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: Source) -> None:
    """Pad with the tokenizer's own token, or else the end token. Raises `InputError` where there is neither."""
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise InputError(f"model.base: the tokenizer of {source.name} has neither a padding nor an end token")
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id


def first_line(error: Exception) -> str:
    """What a library's error says, in one line."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
