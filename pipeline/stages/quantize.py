"""Stage `quantize`: int8 and other variants, each held to what it may lose on the validation rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.progress import Progress

from export.measure import measure, repeat_row
from export.pack import INT8_SHARE
from export.sensitivity import Feeds
from export.variants.kinds import KINDS, Kind
from export.variants.make import Gate, convert, impossible, reform
from export.variants.memory import memory
from export.variants.rank import best, ranked
from export.variants.static import mostly_convolutions
from export.variants.targets import remarks
from pipeline.stages.context import Context, read_result
from pipeline.stages.evaluate import Evaluation
from pipeline.stages.export import GRAPH, input_spec
from serve.errors import InputError
from serve.files import write_json
from serve.machine import instruction_sets

CALIBRATED = 128
"""Training rows for int8-static."""
THREADS = 1

Record = dict[str, Any]


def quantize(context: Context, folder: Path) -> dict[str, Any]:
    """Writes <variant>/model.onnx and quantize.json; with `quantize.enabled = false` only the latter, saying so.

    More than one variant is measured here too: time, and memory in a process of its own.
    """
    settings = context.config.quantize
    if not settings.enabled:
        write_json(folder / "quantize.json", {"enabled": False})
        return {"enabled": False}
    with Progress(console=context.console, transient=True, disable=not context.console.is_terminal) as progress:
        made = Making(context, folder, progress)
        for name in made.wanted:
            if KINDS[name].of != "default":
                made.add(KINDS[name])
        several = len(made.wanted) > 1
        if several:
            context.say("measuring each variant")
            made.time()
        default = best(list(made.records.values()))
        for name in made.wanted:
            if KINDS[name].of == "default":
                made.add(KINDS[name], default)
                made.time([default, name])
        if several:
            made.weigh()
    records = list(made.records.values())
    result = {
        "enabled": True,
        "metric": made.evaluation.metric,
        "max_drop": settings.max_drop,
        "default": default,
        "bundle": kept(settings.keep, records, default),
        "variants": records,
    }
    write_json(folder / "quantize.json", result)
    return _summary(context, result, made)


def read_quantized(context: Context) -> dict[str, Any]:
    """What the stage wrote. Raises `InputError` where it is missing, malformed or an earlier version's."""
    found = read_result(context.path("quantize"), "quantize.json")
    if found.get("enabled") is not False and "variants" not in found:
        raise InputError(
            f"{context.path('quantize')}/quantize.json: of another version of svfit; make it again with: svfit quantize"
        )
    return found


def kept(keep: list[str] | str, records: list[Record], default: str) -> list[str]:
    """Names of the variants for the bundle, fp32 first; of those asked for, the ones that held."""
    held = [row["name"] for row in records if row["held"]]
    wanted = {"best": [default], "all": held}.get(keep, keep) if isinstance(keep, str) else keep
    return [name for name in held if name in ("fp32", default) or name in wanted]


class Making:
    """Variants as they are made, by name, fp32 first."""

    def __init__(self, context: Context, folder: Path, progress: Progress) -> None:
        import onnx

        self.context, self.folder, self.progress = context, folder, progress
        self.evaluation = Evaluation(context, input_spec(context))
        self.fp32 = context.path("export") / GRAPH
        self.model = onnx.load(str(self.fp32))
        settings = context.config.quantize
        chosen = "variants" in settings.model_fields_set
        self.wanted = settings.variants if chosen or not mostly_convolutions(self.model) else ["int8-static"]
        """Of a model of convolutions, unless the configuration says, the int8 that has convolutions."""
        exported = read_result(context.path("export"), "export.json")
        self.limit = float(exported["parity"]["limit"])
        metrics = exported["metrics"]
        self.gate = Gate(
            self.evaluation.headline,
            float(metrics["validation"][self.evaluation.metric]),
            context.config.quantize.max_drop,
            self.evaluation.difference,
        )
        self.batches = self.evaluation.feeds("validation", context.config.quantize.batch)
        fp32 = KINDS["fp32"]
        self.records: dict[str, Record] = {
            "fp32": {
                "name": "fp32",
                "precision": "fp32",
                "about": fp32.about,
                "held": True,
                "why": "",
                "drop": 0.0,
                "kept_fp32": [],
                "bytes": exported["graph"]["bytes"],
                "parity": exported["parity"],
                "metrics": metrics,
            }
        }

    def file(self, name: str) -> Path:
        """Where a variant's graph is."""
        return self.fp32 if name == "fp32" else self.folder / name / KINDS[name].file

    def add(self, kind: Kind, of: str = "") -> None:
        """Make one, and what it is made from where that isn't there yet. What can't be made is recorded with the
        reason; it ends the stage only where nothing else was wanted."""
        source = of or kind.of
        if source and source not in self.records:
            self.add(KINDS[source])
        out = self.file(kind.name)
        task = self.progress.add_task(kind.name, total=None)

        def told(what: str, done: int, total: int) -> None:
            self.progress.update(task, description=what, completed=done, total=total)

        try:
            out.parent.mkdir()
            if source:
                record = self._reform(kind, source, out)
            else:
                record = convert(kind, self.fp32, self.model, out, self.gate, self.batches, self.calibration, told)
            record["metrics"] = self.evaluation.every(out)
        except InputError as error:
            if len(self.wanted) == 1:
                raise
            record = impossible(kind, error)
            out.unlink(missing_ok=True)
        record["remarks"] = remarks(kind, instruction_sets())
        self.records[kind.name] = record
        self.progress.remove_task(task)

    def _reform(self, kind: Kind, source: str, out: Path) -> Record:
        record = self.records[source]
        if "bytes" not in record:
            raise InputError(f"{kind.name}: is another form of {source}, which could not be made")
        limit = self.limit
        if record["precision"] != "fp32":
            limit = INT8_SHARE * max(1.0, self.evaluation.largest(self.file(source)))
        return reform(kind, record, self.file(source), out, self.gate, limit)

    def calibration(self) -> list[Feeds]:
        """Training rows spread over the file, in batches alike in length."""
        return self.evaluation.some(self.context.dataset.train, CALIBRATED, self.context.config.quantize.batch)

    def time(self, names: list[str] | None = None, repeats: int = 100) -> None:
        """Measure those that could be made, or some of them, all taking turns.

        What was measured before stays, and is what the others are told by: the fewer take turns, the more of the
        processor's caches each has to itself, so that only ratios inside one measuring compare.
        """
        there = [name for name in names or self.records if "bytes" in self.records[name]]
        single = self.evaluation.median_row()
        batch = repeat_row(single, self.context.config.quantize.batch)
        found = measure({name: self.file(name) for name in there}, single, batch, threads=THREADS, repeats=repeats)
        known = next((name for name in there if "latency" in self.records[name]), None)
        if known is not None:
            found = {
                name: _beside(taken, found[known], self.records[known]["latency"]) for name, taken in found.items()
            }
        for name in there:
            self.records[name].setdefault("latency", found[name])

    def weigh(self) -> None:
        """Measure the memory of each, in a process of its own."""
        single = self.evaluation.median_row()
        batch = repeat_row(single, self.context.config.quantize.batch)
        for name, record in self.records.items():
            if "bytes" in record:
                record["memory"] = memory(self.file(name), single, batch)


def _beside(taken: dict[str, Any], same: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What was measured in the same turns as one that had been measured `before`, as if it had been there then."""
    keys = ("p50_ms", "p99_ms", "throughput")
    return taken | {key: round(taken[key] * before[key] / same[key], 3) for key in keys}


def _summary(context: Context, result: dict[str, Any], made: Making) -> dict[str, Any]:
    """What the command shows: of the one variant, or all of them in the order of their rank."""
    others = [row for row in result["variants"] if row["name"] != "fp32"]
    place = context.path("quantize")
    if len(others) == 1:
        keys = ("drop", "held", "kept_fp32", "bytes")
        graph = place / made.file(others[0]["name"]).relative_to(made.folder)
        return {"metric": result["metric"], **{key: others[0][key] for key in keys}, "graph": str(graph)}
    return {
        "metric": result["metric"],
        "default": result["default"],
        "bundle": result["bundle"],
        "variants": [
            {key: value for key, value in row.items() if key != "metrics"}
            | {"score": row["metrics"]["validation"][result["metric"]] if "metrics" in row else None}
            for row in ranked(result["variants"])
        ],
    }
