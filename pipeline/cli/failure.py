"""The one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback

import click

from .output import DEBUG_KEY

EXIT_CODES = {"usage": 2, "gate": 4, "unmet": 5}
FAILED, INTERRUPTED = 1, 130

# Import name: distribution name, where a command needs more than the base install.
TRAIN_PACKAGES = {
    "PIL": "pillow",
    "accelerate": "accelerate",
    "datasets": "datasets",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "optimum": "optimum",
    "peft": "peft",
    "psutil": "psutil",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "requests": "requests",
    "scipy": "scipy",
    "seqeval": "seqeval",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "transformers": "transformers",
}


def report_failure(error: BaseException, ctx: click.Context) -> int:
    """Tell a person what happened, in one line unless it has several parts; return the exit code."""
    if isinstance(error, BrokenPipeError):
        _forget_stdout()
        return FAILED
    if ctx.meta.get(DEBUG_KEY):
        click.echo("".join(traceback.format_exception(error)).rstrip(), err=True)
    if isinstance(error, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        return INTERRUPTED
    message, code = _explain(error, ctx)
    color = False if os.environ.get("NO_COLOR") else None
    text = "Error: " + message.replace("\n", "\n       ")
    click.echo(click.style(text, fg="red"), err=True, color=color)
    return code


def _explain(error: BaseException, ctx: click.Context) -> tuple[str, int]:
    from serve.errors import MissingDependency, SvfitError

    if isinstance(error, SvfitError):
        return str(error), EXIT_CODES.get(error.kind, FAILED)
    if isinstance(error, ModuleNotFoundError):
        package = TRAIN_PACKAGES.get((error.name or "").partition(".")[0])
        if package:
            purpose = f"svfit {ctx.invoked_subcommand or ''}".strip()
            return str(MissingDependency(package, "train", purpose)), FAILED
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; try a smaller batch: --set train.batch_size=8", FAILED
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}", FAILED
    first = (str(error).strip().splitlines() or [""])[0]
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return f"unexpected {what} (this is a bug in svfit; --debug shows where)", FAILED


def _forget_stdout() -> None:
    """Point stdout to nowhere, so that the interpreter's last flush meets no closed pipe."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return
