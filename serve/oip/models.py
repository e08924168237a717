"""Which models the Open Inference Protocol sees, and what they take and give.

- The bundle's name is a model, version "1", that takes the adapter with the request.
- Each adapter is a model of its own name, with the adapter's versions, so that a client that knows nothing but model
  names reaches every task. An adapter that has the bundle's name is reached through the bundle's model only.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version as installed

from serve.errors import NotFound
from serve.images.spec import ImageSpec
from serve.manifest import Inputs
from serve.service import Service

PLATFORM = "onnxruntime_onnx"
EXTENSIONS = ("binary_tensor_data", "model_repository", "parameters")
BUNDLE_VERSION = "1"
CLASSIFICATION = ("label", "score", "probabilities", "adapter", "labels")
GIVES: dict[str, tuple[str, ...]] = {
    "text-classification": CLASSIFICATION,
    "image-classification": CLASSIFICATION,
    "text-regression": ("value", "score", "adapter"),
    "token-classification": ("entities", "adapter"),
    "text-embedding": ("embedding", "adapter"),
}
"""The outputs of each task."""
OUTPUTS = ("label", "score", "probabilities", "value", "entities", "embedding", "adapter", "labels")
MAX_VERSION_DIGITS = 9


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor that a model takes or gives; -1 in a shape is any size."""

    name: str
    datatype: str
    shape: list[int]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The server, and which extensions of the protocol it speaks."""

    name: str
    version: str
    extensions: list[str]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model's versions, inputs and outputs."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]


def server_metadata() -> ServerInfo:
    return ServerInfo("svfit", installed("svfit"), list(EXTENSIONS))


def is_bundle(service: Service, name: str, version: str = "") -> bool:
    """Whether this is the bundle's model. Raises NotFound for a version it doesn't have."""
    if name != service.runtime.bundle.manifest.name:
        return False
    if version not in ("", BUNDLE_VERSION):
        raise NotFound(f"model {name} has no version {version!r}; available: {BUNDLE_VERSION}")
    return True


def reference(name: str, version: str) -> str:
    """An adapter's model as the runtime names it: "returns" or "returns@3". Raises NotFound for what can't be one."""
    if not name or "@" in name:
        raise NotFound(f"no model {name!r}; a version goes apart from the name")
    if version and not (version.isascii() and version.isdecimal() and len(version) <= MAX_VERSION_DIGITS):
        raise NotFound(f"model {name} has no version {version!r}; a version is a whole number")
    return f"{name}@{int(version)}" if version else name


async def is_ready(service: Service, name: str, version: str = "") -> bool:
    """Whether a model answers now. Raises NotFound for one that isn't there."""
    if not is_bundle(service, name, version):
        ref = reference(name, version)
        await service.at_runtime(lambda runtime: runtime.show(ref))
    return service.state == "ready"


async def model_metadata(service: Service, name: str, version: str = "") -> ModelInfo:
    """What a model takes and gives. Raises NotFound for one that isn't there."""
    taken = service.runtime.bundle.manifest.input
    if is_bundle(service, name, version):
        inputs = [_row_input(taken, taken.text), TensorInfo("adapter", "BYTES", [-1])]
        return ModelInfo(name, [BUNDLE_VERSION], PLATFORM, inputs, [_output_info(output, -1) for output in OUTPUTS])
    ref = reference(name, version)
    info = await service.at_runtime(lambda runtime: runtime.show(ref))
    texts = info.card.get("texts") or taken.text
    outputs = [_output_info(output, len(info.labels)) for output in GIVES[info.task]]
    return ModelInfo(name, [str(number) for number in info.versions], PLATFORM, [_row_input(taken, texts)], outputs)


def _row_input(inputs: Inputs, texts: int) -> TensorInfo:
    if isinstance(inputs, ImageSpec):
        return TensorInfo(inputs.name, "FP32", [-1, *inputs.shape])
    return TensorInfo("text", "BYTES", [-1] if texts == 1 else [-1, texts])


def _output_info(name: str, classes: int) -> TensorInfo:
    shapes = {"probabilities": [-1, classes], "labels": [classes], "embedding": [-1, -1]}
    texts = ("label", "labels", "entities", "adapter")
    return TensorInfo(name, "BYTES" if name in texts else "FP32", shapes.get(name, [-1]))
