"""`svfit compare`: methods of fine-tuning side by side on a person's own data."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..compare_view import print_comparison
from ..output import emit, progress_console, run_options

if TYPE_CHECKING:
    from pipeline.compare.result import Price

DEFAULT = "svfit,lora,full,head"
LONGEST = 16  # characters of a currency


@click.command()
@partial(run_options, folder="Folder of the comparison. [default: runs/<config name>-compare]")
@click.option(
    "--methods",
    "named",
    default=DEFAULT,
    show_default=True,
    metavar="NAMES",
    help="Those to compare, separated by commas, as listed above.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 99),
    default=3,
    show_default=True,
    metavar="N",
    help="Trainings of each method at its best rate; 2 or more to know how far chance moves them.",
)
@click.option(
    "--rates",
    type=click.IntRange(1, 9),
    default=3,
    show_default=True,
    metavar="N",
    help="Learning rates to try for each method, each about 3 times the one before.",
)
@click.option("--price", type=float, metavar="PER_HOUR", help="What an hour of this machine costs.")
@click.option("--currency", metavar="TEXT", help="Of --price, such as EUR; shown beside it.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.html",
    help="Write the page here too. [default: report.html in the folder]",
)
@click.option("--fresh", is_flag=True, help="Start over instead of going on with what is trained already.")
def compare(
    config_path: Path,
    overrides: tuple[str, ...],
    output: Path | None,
    named: str,
    seeds: int,
    rates: int,
    price: float | None,
    currency: str | None,
    report: Path | None,
    fresh: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Methods of fine-tuning side by side on the rows of CONFIG.toml: what each costs, and what it reaches.

    Every method is tried at the same number of learning rates with one seed and judged on the validation rows, never
    on the test rows; at its best rate it is then trained with the other seeds. [train] holds for all methods
    (train.weight_decay: for the head of each), adapter.targets and adapter.head_modules too; the rest of [adapter], and
    train.learning_rate if it is set, are those of svfit. A broken comparison goes on where it was. What stays in the
    folder is the report and, in .cells, a record of each training; weights go once their test rows are read. Ends with
    code 1 where no method could be trained.

    \b
      svfit[:R]            singular values scaled; R: of the top R directions of each weight
      banded[:K[:R]]       each direction also turned among its K neighbours (SVFT); K is 1
      dense[:R]            any map between the top R directions (LoRA-XS); R is 48
      lora[:R], pissa[:R]  matrices of rank R, by peft; R is 8
      full                 every weight
      head                 the head alone
    """
    from pipeline.methods import methods
    from serve.errors import InputError

    names = methods(named)
    priced = _price(price, currency)
    _check_writable(report)
    from pipeline.config import load

    config = load(config_path, overrides, require_files=True)
    folder = output if output is not None else Path("runs") / f"{config.name}-compare"
    console = progress_console(quiet)
    from pipeline.compare.problem import ConfiguredProblem
    from pipeline.compare.progress import Bars
    from pipeline.compare.run import Request
    from pipeline.compare.run import compare as run

    request = Request(ConfiguredProblem(config_path.resolve(), overrides), tuple(names), seeds, rates, priced)
    with Bars(console) as bars:
        document = run(request, folder, bars.watch, fresh=fresh)
    if report is not None:
        from serve.files import write_bytes

        write_bytes(report, (folder / "report.html").read_bytes())
    emit(document, as_json=as_json, render=lambda found: print_comparison(found, folder))
    if document["recommendation"]["method"] is None:
        raise InputError(f"no method could be trained; the reasons are in {folder}/report.html")


def _check_writable(report: Path | None) -> None:
    """Before hours of training. Raises `UsageError` where the page can't be written there."""
    from serve.errors import UsageError

    if report is None:
        return
    above = next(folder for folder in report.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"--report: {report} can't be written: {above} is not a folder that you may write to")


def _price(price: float | None, currency: str | None) -> Price | None:
    from math import isfinite

    from serve.errors import UsageError

    if price is None:
        if currency is not None:
            raise UsageError("--currency: of which price? add --price PER_HOUR")
        return None
    if not isfinite(price) or price < 0:
        raise UsageError(f"--price: must be a number of at least 0 (got {price:g})")
    if currency is not None and not (currency.isprintable() and 0 < len(currency) <= LONGEST):
        raise UsageError(f"--currency: use a word or a sign of at most {LONGEST} characters (got {currency!r})")
    return {"per_hour": price, "currency": currency or ""}
