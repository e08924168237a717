"""The binary tensor data extension: a body of JSON, then the tensors' bytes in the order of the JSON.

`Inference-Header-Content-Length` says where the JSON ends. An input whose bytes follow says how many by its
parameter `binary_data_size`; an output is asked for as bytes by its parameter `binary_data`, all of them by the
request's `binary_data_output`. A body of JSON alone needs no such header.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic_core import to_json

from serve.errors import InputError
from serve.oip.floats import DATATYPE, FloatTensor, floats_from_json, floats_from_raw
from serve.oip.infer import InferRequest, InferResponse
from serve.oip.tensors import OutputTensor, TextTensor, check_parameters, from_json, from_raw

T = TypeVar("T")
HEADER = "Inference-Header-Content-Length"


@dataclass(frozen=True, slots=True)
class Binary:
    """Which outputs go out as bytes: by name, the others as `default` says."""

    default: bool
    named: Mapping[str, bool]

    def __call__(self, name: str) -> bool:
        return self.named.get(name, self.default)


def read_object(body: bytes) -> dict[str, Any]:
    """A body of JSON, {} where it is empty. Raises InputError for what is no JSON object."""
    try:
        value = json.loads(body.decode()) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise InputError(f"body: not valid JSON ({error})") from error
    return _of(dict, value, "body", "a JSON object")


def read_request(model: str, version: str, body: bytes, header: str | None) -> tuple[InferRequest, Binary]:
    """The request in a body, `header` being its Inference-Header-Content-Length if it has one. Raises InputError."""
    length = _header_length(header, len(body))
    document = read_object(body[:length])
    parameters = dict(_parameters(document, "parameters"))
    everything = _flag(parameters.pop("binary_data_output", False), 'parameter "binary_data_output"')
    outputs = dict(_outputs(document))
    request = InferRequest(
        model=model,
        version=version,
        id=_id(document.get("id", "")),
        parameters=parameters,
        inputs=tuple(_inputs(document, memoryview(body)[length:])),
        outputs=tuple(outputs),
    )
    return request, Binary(everything, {name: flag for name, flag in outputs.items() if flag is not None})


def write_response(response: InferResponse, binary: Binary) -> tuple[bytes, int | None]:
    """The body of a response, and the length of its JSON where bytes follow (else None)."""
    parts: list[bytes] = []
    document = {
        "model_name": response.model,
        "model_version": response.version,
        **({"id": response.id} if response.id else {}),
        "outputs": [_output(tensor, parts if binary(tensor.name) else None) for tensor in response.outputs],
    }
    head = to_json(document)
    return b"".join((head, *parts)), len(head) if parts else None


def _output(tensor: OutputTensor, parts: list[bytes] | None) -> dict[str, Any]:
    described: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
    if parts is None:
        return {**described, "data": tensor.plain()}
    parts.append(tensor.raw())
    return {**described, "parameters": {"binary_data_size": len(parts[-1])}}


def _header_length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not (header.isascii() and header.isdecimal() and len(header) < 12 and int(header) <= size):
        raise InputError(f"{HEADER}: must be the length of the JSON, 0 to {size} here (got {header[:40]!r})")
    return int(header)


def _inputs(document: dict[str, Any], rest: memoryview) -> Iterator[TextTensor | FloatTensor]:
    for place, value in enumerate(_of(list, document.get("inputs"), "inputs", "a list of tensors")):
        where = f"inputs[{place}]"
        tensor = _of(dict, value, where, "an object")
        name = _of(str, tensor.get("name"), f"{where}.name", "text")
        datatype = _of(str, tensor.get("datatype"), f"{where}.datatype", "text")
        shape = _of(list, tensor.get("shape"), f"{where}.shape", "a list of sizes")
        parameters = _parameters(tensor, f"{where}.parameters")
        check_parameters("input", name, parameters)
        size = parameters.get("binary_data_size")
        if size is None:
            data = tensor.get("data")
            floats = datatype == DATATYPE
            yield floats_from_json(name, shape, data) if floats else from_json(name, datatype, shape, data)
            continue
        if "data" in tensor:
            raise InputError(f'input "{name}": has data beside binary_data_size; give one of them')
        if type(size) is not int or not 0 <= size <= len(rest):
            raise InputError(
                f'input "{name}": binary_data_size is {size!r}, and {len(rest)} bytes follow the JSON; '
                f"{HEADER} must say where it ends"
            )
        raw = bytes(rest[:size])
        yield floats_from_raw(name, shape, raw) if datatype == DATATYPE else from_raw(name, datatype, shape, raw)
        rest = rest[size:]
    if len(rest):
        raise InputError(f"body: {len(rest)} bytes are left after the inputs; each must say its binary_data_size")


def _outputs(document: dict[str, Any]) -> Iterator[tuple[str, bool | None]]:
    seen: set[str] = set()
    for place, value in enumerate(_of(list, document.get("outputs", []), "outputs", "a list of outputs")):
        output = _of(dict, value, f"outputs[{place}]", "an object")
        name = _of(str, output.get("name"), f"outputs[{place}].name", "text")
        if name in seen:
            raise InputError(f'output "{name}": asked for twice')
        seen.add(name)
        parameters = _parameters(output, f"outputs[{place}].parameters")
        check_parameters("output", name, parameters)
        flag = parameters.get("binary_data")
        yield name, None if flag is None else _flag(flag, f'output "{name}": binary_data')


def _id(value: Any) -> str:
    text = _of(str, value, "id", "text")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError("id: holds half a surrogate pair, which is no Unicode")
    return text


def _parameters(holder: dict[str, Any], where: str) -> dict[str, Any]:
    return _of(dict, holder.get("parameters", {}), where, "an object")


def _flag(value: Any, where: str) -> bool:
    return _of(bool, value, where, "true or false")


def _of(kind: type[T], value: Any, where: str, wanted: str) -> T:
    if not isinstance(value, kind):
        raise InputError(f"{where}: must be {wanted}" if value is not None else f"{where}: is missing")
    return value
