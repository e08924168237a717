"""Between the messages of inference.proto and the protocol's core (serve.oip.infer)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from serve.errors import InputError
from serve.oip.floats import DATATYPE, FloatTensor, floats_from_raw, floats_from_values
from serve.oip.infer import InferRequest, InferResponse
from serve.oip.models import ModelInfo, TensorInfo
from serve.oip.tensors import TextTensor, check_parameters, from_elements, from_raw
from serve.rpc import inference_pb2 as pb


def parameters(entries: Mapping[str, Any]) -> dict[str, Any]:
    """A map of InferParameter or ModelRepositoryParameter as plain values. Raises InputError for one that has none."""
    found: dict[str, Any] = {}
    for name, entry in entries.items():
        chosen = entry.WhichOneof("parameter_choice")
        if chosen is None:
            raise InputError(f'parameter "{name}": has no value')
        found[name] = getattr(entry, chosen)
    return found


def infer_request(message: pb.ModelInferRequest) -> InferRequest:
    """The request in a message. Raises InputError."""
    for output in message.outputs:
        check_parameters("output", output.name, output.parameters)
    return InferRequest(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        parameters=parameters(message.parameters),
        inputs=tuple(_inputs(message)),
        outputs=tuple(output.name for output in message.outputs),
    )


def infer_response(response: InferResponse) -> pb.ModelInferResponse:
    """The message of a response; its tensors are in `raw_output_contents`."""
    message = pb.ModelInferResponse(model_name=response.model, model_version=response.version, id=response.id)
    for tensor in response.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_output_contents.append(tensor.raw())
    return message


def model_metadata(info: ModelInfo) -> pb.ModelMetadataResponse:
    message = pb.ModelMetadataResponse(name=info.name, versions=info.versions, platform=info.platform)
    _describe(message.inputs, info.inputs)
    _describe(message.outputs, info.outputs)
    return message


def _describe(target: Any, tensors: Iterable[TensorInfo]) -> None:
    for tensor in tensors:
        target.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)


def _inputs(message: pb.ModelInferRequest) -> Iterable[TextTensor | FloatTensor]:
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InputError(f"raw_input_contents: {len(raw)} entries for {len(message.inputs)} inputs; give one for each")
    for place, tensor in enumerate(message.inputs):
        check_parameters("input", tensor.name, tensor.parameters)
        floats = tensor.datatype == DATATYPE
        if not raw and floats:
            yield floats_from_values(tensor.name, tensor.shape, tensor.contents.fp32_contents)
        elif not raw:
            yield from_elements(tensor.name, tensor.datatype, tensor.shape, tensor.contents.bytes_contents)
        elif tensor.HasField("contents"):
            raise InputError(f'input "{tensor.name}": has contents beside raw_input_contents; give one of them')
        elif floats:
            yield floats_from_raw(tensor.name, tensor.shape, raw[place])
        else:
            yield from_raw(tensor.name, tensor.datatype, tensor.shape, raw[place])
