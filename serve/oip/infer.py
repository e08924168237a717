"""The Open Inference Protocol's `infer`, apart from any transport: tensors to rows and adapters, answers to tensors.

A request names a model (serve.oip.models says which there are) and brings the BYTES tensor `text`, of shape [n] or
[n, 1], or [n, 2] for pairs. The bundle's model takes the adapter in `parameters` ("adapter", for all rows), or one a
row in the BYTES tensor `adapter` of shape [n]: "name", "name@3", or "" for the default one. A bundle of images takes,
in place of `text`, the FP32 tensor of its graph's own name, of shape [n, channels, height, width].
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from serve.answers import Answer
from serve.errors import InputError
from serve.images.spec import ImageSpec
from serve.manifest import Inputs
from serve.oip.floats import FloatTensor
from serve.oip.models import BUNDLE_VERSION, GIVES, OUTPUTS, is_bundle, reference
from serve.oip.tensors import OutputTensor, TextTensor
from serve.pieces import Row
from serve.service import Service

PARAMETERS = ("adapter", "timeout")
ON_REQUEST = ("labels",)
"""Outputs that are given only where they are asked for."""
_MAINLY = {
    "text-classification": "labels",
    "image-classification": "labels",
    "text-regression": "a value",
    "token-classification": "entities",
    "text-embedding": "a vector",
}
_SINGULAR = {"labels": "label", "probabilities": "label", "embedding": "vector"}


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request; `version` "" is the model's default one, no `outputs` means all that apply.

    `parameters` may hold `adapter` and `timeout`, the microseconds that the caller will wait.
    """

    model: str
    inputs: Sequence[TextTensor | FloatTensor]
    version: str = ""
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The answer; `version` is the one that answered, `id` the request's."""

    model: str
    version: str
    id: str
    outputs: tuple[OutputTensor, ...]


async def infer(service: Service, request: InferRequest, deadline_seconds: float | None = None) -> InferResponse:
    """Answer one request; `deadline_seconds` from now, or its `timeout`, whichever is sooner.

    Raises InputError for a request that makes no sense, NotFound (model, version, adapter), and what
    `Service.answer` raises.
    """
    bundle = is_bundle(service, request.model, request.version)
    _check_outputs(request.outputs)
    seconds = _seconds(request.parameters, deadline_seconds)
    rows, refs = _rows(request, bundle, service.runtime.bundle.manifest.input)
    answers = await service.answer(rows, refs, seconds)
    version = BUNDLE_VERSION if bundle else answers[0].adapter.rpartition("@")[2]
    return InferResponse(request.model, version, request.id, _outputs(answers, request.outputs))


def _check_outputs(names: Sequence[str]) -> None:
    for name in names:
        if name not in OUTPUTS:
            raise InputError(f'output "{name}": not known; available: {", ".join(OUTPUTS)}')
    if len(set(names)) != len(names):
        raise InputError("outputs: one is asked for twice")


def _seconds(parameters: Mapping[str, Any], deadline: float | None) -> float | None:
    """The sooner of two deadlines, and a check that no parameter goes unheard."""
    for name in sorted(parameters):  # a message's map has no order
        if name not in PARAMETERS:
            raise InputError(f'parameter "{name}": not known; available: {", ".join(PARAMETERS)}')
    timeout = parameters.get("timeout", 0)
    if type(timeout) is not int or timeout < 0:
        raise InputError(f'parameter "timeout": must be a whole number of microseconds (got {timeout!r})')
    return min((value for value in (deadline, timeout / 1e6 or None) if value is not None), default=None)


def _rows(request: InferRequest, bundle: bool, inputs: Inputs) -> tuple[list[Row], list[str | None]]:
    given = {tensor.name: tensor for tensor in request.inputs}
    if len(given) != len(request.inputs):
        raise InputError("inputs: one is given twice")
    main = inputs.name if isinstance(inputs, ImageSpec) else "text"
    known = (main, "adapter") if bundle else (main,)
    for name in given:
        if name not in known:
            raise InputError(f'input "{name}": not known; model "{request.model}" takes: {", ".join(known)}')
    if main not in given:
        raise InputError(f"inputs: need {_wanted(inputs)}")
    tensor = given[main]
    if isinstance(tensor, FloatTensor) != isinstance(inputs, ImageSpec):
        raise InputError(f'input "{main}": must be {_wanted(inputs)}')
    rows: list[Row] = list(tensor.values) if isinstance(tensor, FloatTensor) else _texts(tensor)
    if not bundle:
        if "adapter" in request.parameters:
            raise InputError(f'parameter "adapter": model "{request.model}" is an adapter; ask the bundle\'s model')
        return rows, [reference(request.model, request.version)] * len(rows)
    named = given.get("adapter")
    if isinstance(named, FloatTensor):
        raise InputError('input "adapter": datatype must be BYTES')
    return rows, _adapters(request.parameters.get("adapter"), named, len(rows))


def _wanted(inputs: Inputs) -> str:
    """The tensor that a bundle needs, in words."""
    if isinstance(inputs, ImageSpec):
        return f'an FP32 tensor "{inputs.name}", of shape [n, {", ".join(map(str, inputs.shape))}]'
    return 'a BYTES tensor "text", of shape [n], or [n, 2] for pairs'


def _texts(tensor: TextTensor) -> list[Row]:
    values = tensor.values
    if tensor.shape[1:] == (2,):
        return list(zip(values[::2], values[1::2], strict=True))
    if tensor.shape[1:] not in ((), (1,)):
        raise InputError(f'input "text": shape must be [n], [n, 1], or [n, 2] for pairs (got {list(tensor.shape)})')
    return list(values)


def _adapters(parameter: Any, tensor: TextTensor | None, count: int) -> list[str | None]:
    if tensor is None:
        if parameter is not None and not isinstance(parameter, str):
            raise InputError('parameter "adapter": must be text; for an adapter a row, send a BYTES input "adapter"')
        return [parameter or None] * count
    if parameter is not None:
        raise InputError("adapter: given as a parameter and as an input; give one of them")
    if len(tensor.values) != count:
        raise InputError(f'input "adapter": {len(tensor.values)} elements for {count} rows')
    return [value or None for value in tensor.values]


def _outputs(answers: Sequence[Answer], wanted: Sequence[str]) -> tuple[OutputTensor, ...]:
    reasons = _missing(answers)
    for name in wanted:
        if name in reasons:
            raise InputError(f'output "{name}": {reasons[name]}; leave it out, or ask for these rows apart')
    names = wanted or [name for name in OUTPUTS if name not in reasons and name not in ON_REQUEST]
    return tuple(_output(name, answers) for name in names)


def _missing(answers: Sequence[Answer]) -> dict[str, str]:
    """The outputs that can't be given for all of these answers, each with the reason."""
    reasons: dict[str, str] = {}
    for name in OUTPUTS:
        other = next((answer for answer in answers if name not in GIVES[answer.task]), None)
        if other is not None:
            reasons[name] = f"{other.adapter} gives {_MAINLY[other.task]}, no {_SINGULAR.get(name, name)}"
    labels = {answer.adapter: tuple(answer.probabilities or ()) for answer in answers}
    sizes = {answer.adapter: len(answer.embedding) for answer in answers if answer.embedding is not None}
    if "labels" not in reasons and (pair := _unlike(labels)):
        reasons |= dict.fromkeys(("probabilities", "labels"), f"{pair} have other labels")
    if "embedding" not in reasons and (pair := _unlike(sizes)):
        reasons["embedding"] = f"{pair} have vectors of other lengths"
    return reasons


def _unlike(values: Mapping[str, Any]) -> str:
    """Two names whose values differ; "" where all are the same."""
    first = next(iter(values), "")
    other = next((name for name, value in values.items() if value != values[first]), None)
    return "" if other is None else f"{first} and {other}"


def _output(name: str, answers: Sequence[Answer]) -> OutputTensor:
    count = len(answers)
    if name == "label":
        return OutputTensor(name, "BYTES", (count,), [answer.label or "" for answer in answers])
    if name == "adapter":
        return OutputTensor(name, "BYTES", (count,), [answer.adapter for answer in answers])
    if name == "labels":
        labels = list(answers[0].probabilities or ())
        return OutputTensor(name, "BYTES", (len(labels),), labels)
    if name == "probabilities":
        values = np.array([list((answer.probabilities or {}).values()) for answer in answers], dtype=np.float32)
        return OutputTensor(name, "FP32", values.shape, values)
    if name == "entities":
        listed = [[asdict(entity) for entity in answer.entities or ()] for answer in answers]
        return OutputTensor(name, "BYTES", (count,), [json.dumps(each, ensure_ascii=False) for each in listed])
    if name == "embedding":
        vectors = np.stack([np.asarray(answer.embedding, dtype=np.float32) for answer in answers])
        return OutputTensor(name, "FP32", vectors.shape, vectors)
    numbers = [answer.score if name == "score" else answer.value for answer in answers]
    return OutputTensor(name, "FP32", (count,), np.array(numbers, dtype=np.float32))
