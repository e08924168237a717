"""The methods as a configuration has them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.compare.problem import ConfiguredProblem
from pipeline.config import AdapterSection
from pipeline.methods import Method, method, svf
from pipeline.model.load import Loaded
from pipeline.stages.ranks import choose, core_of
from pipeline.svf import SVFit
from serve.errors import UsageError


def configured_method(name: str, problem: ConfiguredProblem) -> Method:
    """The method of a name on the layers that `adapter.targets` names.

    `svfit` without a size is the one that the whole [adapter] table describes (but for `keep`, which drops directions
    after training), and `train.learning_rate`, where it is set, the middle of its rates. `train.head_learning_rate` is
    every head's, and the middle of the rates of `head`. Raises `UsageError` for a name that there isn't, or
    `adapter.onto`, which no rival could follow.
    """
    config = problem.context.config
    if config.adapter.onto is not None:
        raise UsageError("adapter.onto: binds svfit to the directions of one bundle; compare without it")
    found = method(name, config.adapter.targets)
    if found.of_head:
        return dataclasses.replace(found, rate=config.train.head_learning_rate)
    return _own(found, problem) if name == "svfit" else found


def _own(found: Method, problem: ConfiguredProblem) -> Method:
    adapter, train = problem.context.config.adapter, problem.context.config.train
    core = core_of(adapter)
    like = {"diagonal": "svfit", "banded": "banded", "dense": "dense"}[core.kind]
    rate = train.learning_rate or method(like).rate
    own = dataclasses.replace(found, title=_title(adapter, core.bands), rate=rate)
    wrapped = partial(
        svf.prepare,
        core=core,
        targets=adapter.targets,
        train_bias=adapter.train_bias,
        train_layernorm=adapter.train_layernorm,
    )
    if adapter.rank != "auto":
        return dataclasses.replace(own, prepare=partial(wrapped, rank=adapter.rank))
    return dataclasses.replace(
        own, prepare=_Chosen(problem, wrapped), form=svf.directions, again=partial(_again, wrapped=wrapped)
    )


@dataclass(frozen=True)
class _Chosen:
    """`rank = "auto"`: directions are chosen before each training, which is part of what it takes."""

    problem: ConfiguredProblem
    wrapped: partial[SVFit]

    def __call__(self, loaded: Loaded) -> SVFit:
        config = self.problem.context.config
        rows = self.problem.rows("train", loaded)
        _, found = choose(loaded, loaded.whole, config.adapter, config.train, self.problem.learning(loaded), rows)
        return self.wrapped(loaded, rank="full", found=found)


def _again(loaded: Loaded, form: dict[str, Any], *, wrapped: partial[SVFit]) -> SVFit:
    return wrapped(loaded, rank="full", directions=form)


def _title(adapter: AdapterSection, bands: int) -> str:
    parts: list[str] = ["SVFit" if adapter.core == "diagonal" else adapter.core]
    parts += [f"k={bands}"] * (adapter.core == "banded")
    rank = "by layer" if isinstance(adapter.rank, dict) else adapter.rank
    parts += [f"r={rank}"] * (rank != "full")
    beside = ["biases"] * adapter.train_bias + ["LayerNorms"] * adapter.train_layernorm
    return " ".join(parts) + "".join(f" + {what}" for what in beside)
