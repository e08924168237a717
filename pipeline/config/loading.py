"""Read one TOML file into a `Config`, or say everything that is wrong with it at once."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.tasks.words import METRICS, NAMES
from serve.errors import UsageError

from .conflicts import conflicts
from .overrides import parse
from .problems import closest, problems, shown, unknown_section
from .schema import (
    SECTIONS,
    AdapterSection,
    Config,
    DataSection,
    ExportSection,
    ModelSection,
    Section,
    TrainSection,
)

LARGEST_FILE = 1 << 20  # bytes; a configuration is some KB, so anything larger is another kind of file


def load(path: Path, overrides: Sequence[str] = (), *, require_files: bool = False) -> Config:
    """Read `path`, apply `overrides` ("train.epochs=5"), validate, and resolve relative paths.

    With `require_files`, data files that aren't there are errors too.
    Raises one `UsageError` whose message has a line for every problem: file, key, what was wrong, value.
    """
    path = Path(path)
    document = _read(path)
    values, lines = parse(overrides)
    source = str(path)

    def tell(key: str, problem: str) -> None:
        section, _, name = key.partition(".")
        overridden = name.partition(".")[0] in values.get(section, {})
        lines.append(f"--set {key}: {problem}" if overridden else f"{source}: {key}: {problem}")

    for name, table in document.items():
        if name not in SECTIONS:
            tell(name, unknown_section(name))
        elif not isinstance(table, dict):
            tell(name, f"must be a table, [{name}] (got {shown(table)})")
    sections: dict[str, Section] = {}
    for name, model in SECTIONS.items():
        table = document.get(name, {})
        if not isinstance(table, dict):
            continue
        try:
            sections[name] = model.model_validate({**table, **values.get(name, {})})
        except ValidationError as error:
            for key, problem in problems(name, error):
                tell(key, problem)
    folder = path.absolute().parent
    checks: list[tuple[str, str]] = []
    if isinstance(model_section := sections.get("model"), ModelSection):
        sections["model"] = _place_model(model_section, folder, checks)
    if isinstance(adapter := sections.get("adapter"), AdapterSection) and adapter.onto is not None:
        sections["adapter"] = adapter.model_copy(
            update={"onto": _place_folder(adapter.onto, folder, "adapter.onto", checks)}
        )
    if isinstance(export := sections.get("export"), ExportSection):
        runs = [_place_folder(run, folder, "export.adapters", checks) for run in export.adapters]
        sections["export"] = export.model_copy(update={"adapters": runs})
    if isinstance(data := sections.get("data"), DataSection):
        sections["data"] = _place_data(data, folder, checks, require_files)
        if isinstance(train := sections.get("train"), TrainSection):
            _fit_task(data, train, checks)
        if isinstance(model_section, ModelSection) and model_section.dimensions and data.task != "embedding":
            given = shown(model_section.dimensions)
            checks.append(("model.dimensions", f'needs data.task = "embedding" (got {given})'))
    checks += conflicts(sections)
    for key, problem in checks:
        tell(key, problem)
    if lines:
        raise UsageError("\n".join(lines))
    return Config(name=path.stem, path=path.absolute(), **sections)  # type: ignore[arg-type]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "no such file"
        folder = path.parent if path.parent.is_dir() else Path()
        there = {found.stem: found for found in sorted(folder.glob("*.toml"))}
        near = difflib.get_close_matches(path.stem, there, n=1)
        hint = f'; did you mean "{there[near[0]]}"?' if near else f"; svfit init {path.stem} writes one"
        raise UsageError(f"{path}: {problem}{hint}")
    if path.stat().st_size > LARGEST_FILE:
        raise UsageError(f"{path}: {path.stat().st_size} bytes is no configuration (at most {LARGEST_FILE})")
    raw = path.read_bytes()
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: not valid UTF-8; save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        where = re.search(r" \(at line (\d+), column (\d+)\)", str(error))
        reason = str(error)[: where.start()] if where else str(error).removesuffix(" (at end of document)")
        place = f"line {where[1]}, column {where[2]}" if where else "at its end"
        hint = "; text needs quotes" if "Invalid value" in reason else ""
        raise UsageError(f"{path}, {place}: not valid TOML: {reason}{hint}") from None


def _place_model(section: ModelSection, folder: Path, checks: list[tuple[str, str]]) -> ModelSection:
    base = section.base
    if base.startswith("pypi:"):
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", base.removeprefix("pypi:")):
            checks.append(("model.base", f'must name a package after "pypi:" (got {shown(base)})'))
        return section
    place = (folder / Path(base).expanduser()).resolve()
    if place.is_dir():
        return section.model_copy(update={"base": str(place)})
    if base.startswith((".", "/", "~")):
        checks.append(("model.base", f"no such folder: {place} (got {shown(base)})"))
    return section


def _place_folder(named: str, folder: Path, key: str, checks: list[tuple[str, str]]) -> str:
    """Beside the configuration, or else below the current folder, where runs are."""
    given = Path(named).expanduser()
    places = [(base / given).resolve() for base in (folder, Path())]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        checks.append((key, f"no such folder: {places[0]} (got {shown(named)})"))
    return str(found or places[0])


def _place_data(section: DataSection, folder: Path, checks: list[tuple[str, str]], require_files: bool) -> DataSection:
    text = [section.text] if isinstance(section.text, str) else section.text
    if section.label in text:
        checks.append(("data.label", f"must be another column than data.text (got {shown(section.label)})"))
    if section.dataset is not None:
        return section
    if section.dataset_config is not None:
        checks.append(("data.dataset_config", "needs data.dataset, which is not set"))
    placed: dict[str, str] = {}
    for key in ("train", "validation", "test"):
        value = getattr(section, key)
        if value is None:
            continue
        place = (folder / Path(value).expanduser()).resolve()
        placed[key] = str(place)
        if require_files and section.task == "image-classification" and place.is_dir():
            continue
        if require_files and not place.is_file():
            names = [found.name for found in place.parent.iterdir()] if place.parent.is_dir() else []
            checks.append((f"data.{key}", f"no such file: {place} (got {shown(value)}){closest(place.name, names)}"))
    return section.model_copy(update=placed)


def _fit_task(data: DataSection, train: TrainSection, checks: list[tuple[str, str]]) -> None:
    if data.task != "auto" and train.metric not in ("auto", "loss", *METRICS[NAMES[data.task]]):
        fitting = ", ".join((*METRICS[NAMES[data.task]], "loss"))
        checks.append(("train.metric", f"data.task = {shown(data.task)} has {fitting} (got {shown(train.metric)})"))
    if data.task != "embedding":
        if not train.epochs:
            checks.append(("train.epochs", "must be > 0 (got 0); a head that learned nothing would answer at random"))
        if data.pairs != "auto":
            checks.append(("data.pairs", f'needs data.task = "embedding" (got {shown(data.pairs)})'))
        if not isinstance(data.text, str) and len(data.text) > 2:
            checks.append(("data.text", f'three columns need data.task = "embedding" (got {shown(data.text)})'))
    elif train.class_weights or train.label_smoothing:
        key = "class_weights" if train.class_weights else "label_smoothing"
        checks.append((f"train.{key}", "an embedding has no classes (got " + shown(getattr(train, key)) + ")"))
    if data.task == "token-classification":
        if not isinstance(data.text, str):
            checks.append(("data.text", f"entities are found in one text a row (got {shown(data.text)})"))
        if train.class_weights:
            checks.append(("train.class_weights", "entities have no classes to weigh (got true)"))
    if data.task == "regression":
        if train.class_weights:
            checks.append(("train.class_weights", "a regression has no classes to weigh (got true)"))
        if train.label_smoothing:
            checks.append(
                (
                    "train.label_smoothing",
                    f"a regression has no classes to smooth (got {train.label_smoothing})",
                )
            )
