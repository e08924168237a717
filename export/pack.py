"""Write a bundle: graphs, tokenizer, adapter and samples into one folder, sealed and checked."""

from __future__ import annotations

import dataclasses
import datetime
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from serve.adapters.native import HEAD_FILE, SIGMA_FILE
from serve.bundle import SAMPLES, TOKENIZER, Bundle, seal
from serve.encoder import open_encoder
from serve.engine import open_default
from serve.errors import InputError
from serve.files import atomic_dir, write_bytes
from serve.machine import cpu_model, instruction_sets
from serve.manifest import BaseSpec, Created, FileEntry, Inputs, Manifest, MeasuredOn, OutputSpec, Variant
from serve.pieces import Row
from serve.samples import prepared_rows, sample_outputs
from serve.settings import SINGLE
from serve.swap import SwapSpec
from serve.tasks import TaskName, task_of

MIN_SAMPLES = 8
FP32_TOLERANCE = 1e-4  # the same sums in another order; see export.parity
INT8_SHARE = 0.02  # of the largest logit: a rounding that falls to the other side moves an activation by 1/255
NATIVE = (SIGMA_FILE, HEAD_FILE)
PACKAGES = ("numpy", "onnx", "onnxruntime", "svfit", "tokenizers", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class VariantFiles:
    """A graph for the bundle: `file` (named model.onnx if weights lie beside it in model.onnx.data), and its numbers.

    The variant named "fp32" becomes model.onnx, any other variants/<name>/model.onnx, or model.ort if `file` ends so.
    `beside` are files that come along in its folder.
    """

    name: str
    file: Path
    metrics: Mapping[str, Any] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    latency: Mapping[str, Any] = field(default_factory=dict)
    kept_fp32: Sequence[str] = ()
    precision: str = ""
    """Empty: fp32 of the variant named so, int8 of any other."""
    beside: Sequence[Path] = ()

    @property
    def place(self) -> str:
        """The file's path inside the bundle."""
        suffix = ".ort" if self.file.suffix == ".ort" else ".onnx"
        return "model.onnx" if self.name == "fp32" else f"variants/{self.name}/model{suffix}"

    @property
    def exact(self) -> str:
        """Its precision, known or by its name."""
        return self.precision or ("fp32" if self.name == "fp32" else "int8")


def write_bundle(
    folder: Path,
    *,
    name: str,
    task: TaskName,
    labels: Sequence[str],
    inputs: Inputs,
    width: int,
    variants: Sequence[VariantFiles],
    default_variant: str,
    tokenizer_json: Path | None,
    adapters: Mapping[str, Path],
    samples: Sequence[Row],
    base: BaseSpec,
    basis_id: str,
    adapter: Mapping[str, Any] | None = None,
    swap: SwapSpec | None = None,
    shared: Sequence[Path] = (),
    output: str = "logits",
    threads: int = 1,
    created_at: str | None = None,
) -> Path:
    """Assemble a bundle in a temporary folder, seal it, check it by opening it, and put it at `folder`.

    `labels` in the order of the logits (none where there are none), `width` the numbers of an output, `samples` at
    least eight rows whose answers are stored for each variant; `tokenizer_json` is there where rows are texts.
    `adapters` are folders with adapter.json and adapter.safetensors, by name; the first one gives those answers. A
    swappable bundle has `swap`, `shared` files that its graphs read, and onnxruntime's own adapter files beside each
    adapter. `created_at` is an ISO time, now by default; all else being equal only it and measured latencies differ
    between two bundles. Raises InputError, one line, for what can't make a good bundle.
    """
    if len(samples) < MIN_SAMPLES:
        raise InputError(f"bundle {name}: needs {MIN_SAMPLES} sample rows or more (got {len(samples)})")
    if default_variant not in [variant.name for variant in variants]:
        told = ", ".join(variant.name for variant in variants) or "none"
        raise InputError(f"bundle {name}: no variant {default_variant!r} to be the default; there are: {told}")
    with atomic_dir(folder) as fresh:
        for variant in variants:
            for part in _parts(variant.file):
                place = fresh / variant.place
                _copy(part, place.with_name(part.name.replace(variant.file.name, place.name, 1)))
            for file in variant.beside:
                _copy(file, (fresh / variant.place).with_name(file.name))
        if tokenizer_json is not None:
            _copy(tokenizer_json, fresh / TOKENIZER)
        for file in shared:
            _copy(file, fresh / file.name)
        for adapter_name, source in adapters.items():
            for piece in ("adapter.json", "adapter.safetensors", *(NATIVE if swap else ())):
                _copy(source / piece, fresh / "adapters" / adapter_name / piece)
        manifest = Manifest(
            name=name,
            task=task,
            labels=tuple(labels),
            input=inputs,
            output=OutputSpec(output, width, task_of(task).per_token),
            base=base,
            basis_id=basis_id,
            adapter={"name": next(iter(adapters)), **(adapter or {})},
            variants=tuple(_variant(variant, default_variant) for variant in variants),
            default_variant=default_variant,
            measured_on=MeasuredOn(cpu_model(), tuple(instruction_sets()), threads, _version("onnxruntime") or "?"),
            created=Created(_version("svfit") or "0", created_at or _now(), versions()),
            swap=swap,
        )
        write_bytes(fresh / SAMPLES, _samples(fresh, manifest, samples))
        seal(fresh, manifest)
        Bundle.open(fresh)
    return folder


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Installed versions, by default of the packages that decide a bundle's content."""
    return {package: version for package in packages if (version := _version(package)) is not None}


def _samples(folder: Path, manifest: Manifest, rows: Sequence[Row]) -> bytes:
    present = {path.relative_to(folder).as_posix(): FileEntry(0, "") for path in folder.rglob("*") if path.is_file()}
    draft = Bundle(folder, dataclasses.replace(manifest, files=present))
    rows = [manifest.input.as_sample(row) for row in rows]
    encoder = open_encoder(draft)
    outputs: dict[str, Any] = {}
    tolerance: dict[str, float] = {}
    for variant in manifest.variants:
        session, length = open_default(draft, encoder, variant.name, SINGLE)
        found = sample_outputs(session, encoder, prepared_rows(manifest, encoder, rows, length))
        outputs[variant.name] = [output.tolist() for output in found]
        largest = max(1.0, *(float(np.abs(output).max()) for output in found))
        tolerance[variant.name] = round(largest * (FP32_TOLERANCE if variant.precision == "fp32" else INT8_SHARE), 6)
    listed = [manifest.input.row_to_json(row) for row in rows]
    value = {"rows": listed, "outputs": outputs, "tolerance": tolerance}
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def _parts(file: Path) -> list[Path]:
    """A graph's file, and its weights where export.graph put them beside it."""
    beside = file.with_name(f"{file.name}.data")
    return [file, beside] if beside.exists() else [file]


def _variant(variant: VariantFiles, default: str) -> Variant:
    return Variant(
        name=variant.name,
        file=variant.place,
        precision=variant.exact,
        default=variant.name == default,
        bytes=sum(part.stat().st_size for part in _parts(variant.file)),
        metrics=dict(variant.metrics),
        parity=dict(variant.parity),
        latency=dict(variant.latency),
        kept_fp32=tuple(variant.kept_fp32),
    )


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise InputError(f"{source}: is missing; a bundle needs it as {target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o644)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
