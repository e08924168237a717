"""The bundle's manifest: what a bundle says of itself, read strictly. Format 1 is merged, format 2 swappable."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from serve.errors import InputError
from serve.files import sha256_json
from serve.images.spec import ImageSpec
from serve.pieces import Row
from serve.record import Record
from serve.swap import SwapSpec
from serve.tasks import TASKS, TaskName, task_of

FORMAT = "svfit-bundle"
MERGED, SWAPPABLE = 1, 2
INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")

Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a row of text is, and what the graph takes: `names`, each int64 (batch, sequence)."""

    text: int
    names: tuple[str, ...]
    max_length: int
    pad_id: int
    pad_type_id: int
    pad_token: str
    padding_side: Side = "right"

    @property
    def types(self) -> dict[str, str]:
        """The graph's inputs with their types, as onnxruntime tells them."""
        return dict.fromkeys(self.names, "tensor(int64)")

    def as_sample(self, row: Any) -> Any:
        """A row as it is stored for checking: as it is."""
        return row

    def row_to_json(self, row: Any) -> list[str]:
        """A sample row for samples.json."""
        return [row] if isinstance(row, str) else list(row)

    def row_from_json(self, value: Any, where: str) -> Row:
        """A sample row as it was. Raises InputError."""
        if not isinstance(value, list) or len(value) != self.text or not all(isinstance(text, str) for text in value):
            raise InputError(f"{where}: must be a list of {self.text} text(s)")
        return value[0] if self.text == 1 else (value[0], value[1])

    @classmethod
    def from_dict(cls, value: Any, where: str) -> InputSpec:
        record = Record(value, where)
        spec = cls(
            text=record.count("text", 1),
            names=record.strings("names"),
            max_length=record.count("max_length", 1),
            pad_id=record.count("pad_id"),
            pad_type_id=record.count("pad_type_id"),
            pad_token=record.text("pad_token"),
            padding_side=cast(Side, record.choice("padding_side", ("left", "right"))),
        )
        record.end()
        if spec.text > 2:
            raise InputError(f"{record.place('text')}: must be 1 (a text) or 2 (a pair), got {spec.text}")
        if "input_ids" not in spec.names or not set(spec.names) <= set(INPUT_NAMES):
            raise InputError(
                f"{record.place('names')}: must hold input_ids and nothing but {', '.join(INPUT_NAMES)}"
                f" (got {', '.join(spec.names)})"
            )
        return spec


Inputs = InputSpec | ImageSpec
"""What a graph takes: tokens, or pixels."""


def inputs_from(value: Any, where: str) -> Inputs:
    """What a manifest, or a stage's result, says of a graph's inputs. Raises InputError."""
    of_images = isinstance(value, dict) and "channels" in value
    return ImageSpec.from_dict(value, where) if of_images else InputSpec.from_dict(value, where)


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """The graph's answer: `name`, float32 (batch, `width`), or (batch, sequence, `width`) where it is `per_token`."""

    name: str
    width: int
    per_token: bool = False

    @classmethod
    def from_dict(cls, value: Any, where: str) -> OutputSpec:
        record = Record(value, where)
        name, shape = record.text("name"), record.array("shape")
        record.end()
        if shape[:-1] not in (["batch"], ["batch", "sequence"]) or type(shape[-1]) is not int or shape[-1] < 1:
            raise InputError(
                f'{record.place("shape")}: must be ["batch", width] or ["batch", "sequence", width] (got {shape})'
            )
        return cls(name=name, width=shape[-1], per_token=len(shape) == 3)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "shape": ["batch", *(["sequence"] if self.per_token else []), self.width]}


@dataclass(frozen=True, slots=True)
class BaseSpec:
    """The base model: its name and a sha256 of its weights."""

    name: str
    sha256: str

    @classmethod
    def from_dict(cls, value: Any, where: str) -> BaseSpec:
        record = Record(value, where)
        spec = cls(name=record.text("name"), sha256=record.sha256("sha256"))
        record.end()
        return spec


@dataclass(frozen=True, slots=True)
class Variant:
    """One precision of the graph; `metrics`, `parity` and `latency` are what was measured, free in form."""

    name: str
    file: str
    precision: str
    default: bool
    bytes: int
    metrics: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    latency: dict[str, Any] = field(default_factory=dict)
    kept_fp32: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, value: Any, where: str) -> Variant:
        record = Record(value, where)
        spec = cls(
            name=record.text("name"),
            file=record.text("file"),
            precision=record.text("precision"),
            default=record.get("default", bool),
            bytes=record.count("bytes"),
            metrics=record.get("metrics", dict) if record.has("metrics") else {},
            parity=record.get("parity", dict) if record.has("parity") else {},
            latency=record.get("latency", dict) if record.has("latency") else {},
            kept_fp32=record.strings("kept_fp32") if record.has("kept_fp32") else (),
        )
        record.end()
        return spec


@dataclass(frozen=True, slots=True)
class MeasuredOn:
    """The machine that made the stored numbers; `isa` are the instruction sets that decide int8 results."""

    cpu: str
    isa: tuple[str, ...]
    threads: int
    onnxruntime: str

    @classmethod
    def from_dict(cls, value: Any, where: str) -> MeasuredOn:
        record = Record(value, where)
        spec = cls(
            cpu=record.get("cpu", str),
            isa=record.strings("isa"),
            threads=record.count("threads"),
            onnxruntime=record.text("onnxruntime"),
        )
        record.end()
        return spec


@dataclass(frozen=True, slots=True)
class Created:
    """Who wrote the bundle and when (`at`: ISO 8601)."""

    svfit: str
    at: str
    versions: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, value: Any, where: str) -> Created:
        record = Record(value, where)
        spec = cls(record.text("svfit"), record.text("at"), record.get("versions", dict))
        record.end()
        return spec


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size in bytes and sha256 of one file."""

    bytes: int
    sha256: str

    @classmethod
    def from_dict(cls, value: Any, where: str) -> FileEntry:
        record = Record(value, where)
        entry = cls(bytes=record.count("bytes"), sha256=record.sha256("sha256"))
        record.end()
        return entry


@dataclass(frozen=True, slots=True)
class Manifest:
    """All of manifest.json. `files` and `manifest_sha256` are filled by `serve.bundle.seal`.

    `labels` are in the order of the logits, and empty for regression. In a swappable bundle (`swap` is there) task,
    labels, output and adapter are those of its first adapter, and every variant's file is a backbone.
    """

    name: str
    task: TaskName
    labels: tuple[str, ...]
    input: Inputs
    output: OutputSpec
    base: BaseSpec
    basis_id: str
    adapter: dict[str, Any]
    variants: tuple[Variant, ...]
    default_variant: str
    measured_on: MeasuredOn
    created: Created
    swap: SwapSpec | None = None
    files: dict[str, FileEntry] = field(default_factory=dict)
    manifest_sha256: str = ""

    @classmethod
    def from_dict(cls, value: Any, where: str = "manifest.json") -> Manifest:
        """Read and check a parsed manifest. Raises InputError, one line that names the key."""
        record = Record(value, where)
        version = _format_version(record)
        manifest = cls(
            name=record.text("name"),
            task=cast(TaskName, record.choice("task", TASKS)),
            labels=record.strings("labels"),
            input=inputs_from(record.get("input", dict), record.place("input")),
            output=OutputSpec.from_dict(record.get("output", dict), record.place("output")),
            base=BaseSpec.from_dict(record.get("base", dict), record.place("base")),
            basis_id=record.text("basis_id"),
            adapter=record.get("adapter", dict),
            variants=tuple(
                Variant.from_dict(item, f"{record.place('variants')}[{place}]")
                for place, item in enumerate(record.array("variants"))
            ),
            default_variant=record.text("default_variant"),
            measured_on=MeasuredOn.from_dict(record.get("measured_on", dict), record.place("measured_on")),
            created=Created.from_dict(record.get("created", dict), record.place("created")),
            swap=SwapSpec.from_dict(record.get("swap", dict), record.place("swap")) if version == SWAPPABLE else None,
            files={
                name: FileEntry.from_dict(entry, f"{record.place('files')}[{name!r}]")
                for name, entry in record.get("files", dict).items()
            },
            manifest_sha256=record.sha256("manifest_sha256"),
        )
        record.end()
        manifest.check(where)
        return manifest

    def check(self, where: str = "manifest.json") -> None:
        """Refuse what contradicts itself: labels and width, variants and default. Raises InputError."""
        task = task_of(self.task)
        if problem := task.labels_problem(self.labels, self.output.width):
            raise InputError(f"{where}.labels: {problem}")
        if self.task.startswith("image") != isinstance(self.input, ImageSpec):
            raise InputError(f"{where}.input: must be of {'images' if self.task.startswith('image') else 'texts'}")
        if task.per_token != self.output.per_token:
            raise InputError(f"{where}.output.shape: {self.task} answers each {'token' if task.per_token else 'row'}")
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names) or not names:
            raise InputError(f"{where}.variants: must name at least one variant, and none twice")
        defaults = [variant.name for variant in self.variants if variant.default]
        if defaults != [self.default_variant]:
            raise InputError(
                f"{where}.default_variant: {self.default_variant!r} must be the one variant marked default"
                f" (variants: {', '.join(names)}; marked: {', '.join(defaults) or 'none'})"
            )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of manifest.json; the inverse of `from_dict`."""
        plain: dict[str, Any] = dataclasses.asdict(self, dict_factory=_plain)
        plain["output"] = self.output.to_dict()
        if self.swap is None:
            del plain["swap"]
        return {"format": FORMAT, "format_version": MERGED if self.swap is None else SWAPPABLE, **plain}

    def variant(self, name: str | None = None) -> Variant:
        """A variant by name, or the default one. Raises InputError that lists what there is."""
        wanted = self.default_variant if name is None else name
        for variant in self.variants:
            if variant.name == wanted:
                return variant
        have = ", ".join(variant.name for variant in self.variants)
        raise InputError(f"bundle {self.name}: no variant {wanted!r}; it has: {have}")


def manifest_digest(value: dict[str, Any]) -> str:
    """Hex sha256 of a manifest's canonical JSON without its key `manifest_sha256`."""
    return sha256_json({key: item for key, item in value.items() if key != "manifest_sha256"})


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in pairs}


def _format_version(record: Record) -> int:
    if record.get("format", str) != FORMAT:
        raise InputError(f"{record.place('format')}: not a bundle of svfit (want {FORMAT!r})")
    version = record.count("format_version", 1)
    if version > SWAPPABLE:
        raise InputError(
            f"{record.place('format_version')}: {version} is newer than this svfit reads"
            f" (up to {SWAPPABLE}); try a newer svfit"
        )
    return version
