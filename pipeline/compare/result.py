"""The document of a comparison: what the engine gathers, and what terminal, JSON and page show."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class Price(TypedDict):
    """What an hour of this machine costs, as the person said."""

    per_hour: float
    currency: str
    """As the person wrote it; may be empty."""


class Cost(TypedDict):
    """In the price's currency, by wall-clock."""

    training: float
    """One training at the chosen rate, its preparation included."""
    all: float
    """Every training of the method: rates and seeds."""


class Trained(TypedDict):
    """Numbers that are trained."""

    adapter: int
    head: int


class Numbers(TypedDict):
    """A metric over the seeds."""

    mean: float
    spread: float | None
    """Standard deviation of the sample; None for one seed."""
    values: list[float]
    """In the order of the method's `seeds`."""


class TriedRate(TypedDict):
    """A learning rate, tried with the first seed."""

    rate: float
    validation: float | None
    """The comparison's metric of the best epoch; None where it failed."""
    status: Literal["done", "failed"]
    reason: str | None
    """One line, where it failed."""


class Point(TypedDict):
    """The training loss after `step` steps and `seconds` of training."""

    step: int
    seconds: float
    loss: float


class MethodResult(TypedDict):
    """A method. Every key is always there; where `status` is "failed", what wasn't measured is None or empty."""

    method: str
    """As the person named it: `lora:8`."""
    title: str
    """For people: `LoRA r=8`."""
    status: Literal["done", "failed"]
    reason: str | None
    """Why it failed, one line."""
    notes: list[str]
    """Sentences for the person: best at the edge of the rates, a seed that failed."""
    trained: Trained | None
    share_of_lora: float | None
    """Trained values besides the head, over those of LoRA r=8 on the same layers."""
    bytes: int | None
    """Of what was learned, adapter and head, in float32."""
    rates: list[TriedRate]
    """From the lowest."""
    rate: float | None
    """The chosen one: the best on validation."""
    at_edge: bool
    """The chosen rate is the lowest or the highest of several tried: beyond it there may be more."""
    seeds: list[int]
    """Those that finished at the chosen rate."""
    validation: dict[str, Numbers] | None
    """By metric, the comparison's own among them."""
    test: dict[str, Numbers] | None
    """None without test rows."""
    seconds_per_step: float | None
    """Median over the seeds, like the two that follow: one that ran beside other work doesn't count."""
    seconds: float | None
    """Of one training, its validations included."""
    prepare_seconds: float | None
    """Before the first step: loading the model, wrapping it, its SVD where it wasn't in the cache."""
    sweep_seconds: float
    """All trainings of the method together, those that failed included."""
    peak_memory_bytes: int | None
    """The largest of the seeds: of the process, or on a GPU what was allocated there."""
    cost: Cost | None
    """None without a price."""
    curve: list[Point]
    """Of the first seed at the chosen rate, like `epochs`."""
    epochs: list[dict[str, float]]
    """After each epoch: `epoch`, `step`, `seconds` (validation included), `loss` and the metrics on validation."""


class Recommendation(TypedDict):
    """Which method to use, and why, in words that say what is not known too."""

    method: str | None
    """None where every method failed."""
    text: str
    reasons: list[str]
    equals: list[str]
    """The methods that the seeds can't tell from the best one and whose mean is within a point of its; it and the
    recommended one among them. Empty where there is but one."""
    judged_by: Literal["validation"]
    """The rows that chose. The test rows choose nothing."""


class Comparison(TypedDict):
    """The whole."""

    kind: Literal["comparison"]
    name: str
    created: dict[str, Any]
    """`at`, an ISO time, and `svfit`, the version."""
    task: str
    metric: str
    higher_is_better: bool
    data: dict[str, Any]
    """`rows` of each split by name, `labels` (empty for numbers)."""
    base: dict[str, str]
    """`name` and `sha256`."""
    machine: dict[str, Any]
    """As `serve.machine.describe` has it, and `device`: where the training ran, such as "cpu" or "cuda:0"."""
    price: Price | None
    seeds: list[int]
    rates_tried: int
    lora_values: int
    """Trained values of LoRA r=8 on the layers that all methods adapt."""
    full_values: int
    """All weights of these layers."""
    seconds: float
    """Of all trainings together."""
    config: dict[str, Any]
    """The configuration's tables as they were resolved."""
    methods: list[MethodResult]
    """In the order in which they were named."""
    recommendation: Recommendation
