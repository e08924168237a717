"""The Open Inference Protocol's `infer`, apart from any transport: tensors to rows and adapters, answers to tensors.

A request names a model (serve.oip.models says which there are) and brings the BYTES tensor `text`, of shape [n] or
[n, 1], or [n, 2] for pairs. The bundle's model takes the adapter in `parameters` ("adapter", for all rows), or one a
row in the BYTES tensor `adapter` of shape [n]: "name", "name@3", or "" for the default one. A bundle of images takes,
in place of `text`, the FP32 tensor of its graph's own name, of shape [n, channels, height, width].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serve.answers import Answer
from serve.errors import InputError
from serve.images.spec import ImageSpec
from serve.manifest import Inputs
from serve.oip.floats import FloatTensor
from serve.oip.models import BUNDLE_VERSION, OUTPUTS, is_bundle, reference
from serve.oip.tensors import OutputTensor, TextTensor
from serve.pieces import Row
from serve.service import Service

PARAMETERS = ("adapter", "timeout")
ON_REQUEST = ("labels",)
"""Outputs that are given only where they are asked for."""


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
    tasks = {answer.adapter: tuple(answer.probabilities or ()) for answer in answers}
    reasons = _missing(tasks)
    for name in wanted:
        if name in reasons:
            raise InputError(f'output "{name}": {reasons[name]}; leave it out, or ask for these rows apart')
    names = wanted or [name for name in OUTPUTS if name not in reasons and name not in ON_REQUEST]
    return tuple(_output(name, answers) for name in names)


def _missing(tasks: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The outputs that can't be given for adapters with these labels (none: regression), each with the reason."""
    regressions = [adapter for adapter, labels in tasks.items() if not labels]
    reasons: dict[str, str] = {}
    if len(regressions) < len(tasks):
        classifier = next(adapter for adapter, labels in tasks.items() if labels)
        reasons["value"] = f"{classifier} gives labels, no value"
    if regressions:
        reasons |= dict.fromkeys(("label", "probabilities", "labels"), f"{regressions[0]} gives a value, no label")
    elif len(set(tasks.values())) > 1:
        first = next(iter(tasks))
        other = next(adapter for adapter in tasks if tasks[adapter] != tasks[first])
        reasons |= dict.fromkeys(("probabilities", "labels"), f"{first} and {other} have other labels")
    return reasons


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
    numbers = [answer.score if name == "score" else answer.value for answer in answers]
    return OutputTensor(name, "FP32", (count,), np.array(numbers, dtype=np.float32))
