"""One variant's graph in onnxruntime: CPU, quiet, and no operators but onnxruntime's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serve.bundle import Bundle
from serve.errors import InputError
from serve.manifest import Inputs, OutputSpec
from serve.settings import USUAL, Settings

QUIET = 3  # onnxruntime's severity "error"; its warnings are about graphs, not for people
Feeds = Mapping[str, npt.NDArray[Any]]


class Session(Protocol):
    """Whatever answers a batch: feeds, each batch first, to float32 (batch, width), or (batch, sequence, width)."""

    def run(self, feeds: Feeds) -> npt.NDArray[np.float32]: ...


class GraphSession:
    """A loaded graph: the bundle's inputs in, float32 (batch, width) or (batch, sequence, width) out.

    Libraries of custom operators are never registered, so a graph that needs one is refused at loading.
    """

    def __init__(self, path: Path, inputs: Inputs, output: OutputSpec, settings: Settings = USUAL) -> None:
        """Load a model file.

        Raises InputError where onnxruntime can't load it, or its inputs and outputs aren't the manifest's.
        """
        session = load(path, session_options(settings))
        check_inputs(session, path, inputs)
        check_outputs(session, path, (output.name,))
        self._session, self._output, self._path = session, output, path

    def run(self, feeds: Feeds) -> npt.NDArray[np.float32]:
        """Feeds, each batch first, to float32 (batch, width), or (batch, sequence, width).

        Raises InputError where the graph fails, or answers in another shape or with NaN or infinities.
        """
        (result,) = run_graph(self._session, self._path, [self._output.name], feeds)
        logits: npt.NDArray[np.float32] = np.asarray(result, dtype=np.float32)
        first, width = next(iter(feeds.values())), self._output.width
        wanted = (*first.shape[: 1 + self._output.per_token], width)
        if logits.shape != wanted:
            raise InputError(f"{self._path}: {self._output.name} has shape {logits.shape}, not {wanted}")
        if not np.isfinite(logits).all():
            raise InputError(f"{self._path}: {self._output.name} holds NaN or infinities")
        return logits


def open_session(bundle: Bundle, variant: str | None = None, settings: Settings = USUAL) -> GraphSession:
    """Load a variant of a merged bundle; None is its default. Raises InputError, also for an unknown variant."""
    manifest = bundle.manifest
    path = bundle.file(manifest.variant(variant).file)
    return GraphSession(path, manifest.input, manifest.output, settings)


def session_options(settings: Settings = USUAL) -> Any:
    """onnxruntime's SessionOptions as all sessions here have them: quiet, and told what `settings` say."""
    import onnxruntime  # here, as its import takes its time

    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    if settings.threads is not None:
        options.intra_op_num_threads = settings.threads
    options.enable_cpu_mem_arena = settings.arena
    options.enable_mem_pattern = settings.mem_pattern
    if not settings.spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not settings.prepacking:
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def load(path: Path, options: Any) -> Any:
    """An onnxruntime.InferenceSession on the CPU. Raises InputError where the file can't be loaded.

    Every graph in a file, here and in `export`, is opened by this.
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        raise InputError(f"{path}: onnxruntime {onnxruntime.__version__} can't load it ({_reason(error)})") from error


def run_graph(session: Any, path: Path, outputs: list[str], feeds: Any) -> list[Any]:
    """The named outputs. Raises InputError where the graph fails on these feeds."""
    try:
        results: list[Any] = session.run(outputs, feeds)
    except Exception as error:  # onnxruntime's errors share no base class
        raise InputError(f"{path}: onnxruntime can't run it ({_reason(error)})") from error
    return results


def check_inputs(session: Any, path: Path, inputs: Inputs) -> None:
    """Raise InputError unless the graph must be fed exactly the bundle's inputs, of their types."""
    have = {entry.name: entry.type for entry in session.get_inputs()}
    if have != inputs.types:
        told, wanted = (", ".join(f"{name}: {kind}" for name, kind in types.items()) for types in (have, inputs.types))
        raise InputError(f"{path}: the graph takes {told or 'nothing'}; the manifest says {wanted}")


def check_outputs(session: Any, path: Path, names: tuple[str, ...]) -> None:
    """Raise InputError unless the graph has all these outputs."""
    have = [entry.name for entry in session.get_outputs()]
    for name in names:
        if name not in have:
            raise InputError(f"{path}: the graph has no output {name!r}; it has: {', '.join(have)}")


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
