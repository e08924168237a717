"""One variant's graph in onnxruntime: CPU, quiet, and no operators but onnxruntime's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.bundle import Bundle
from serve.errors import InputError, UsageError
from serve.manifest import InputSpec, OutputSpec

QUIET = 3  # onnxruntime's severity "error"; its warnings are about graphs, not for people


class GraphSession:
    """A loaded graph: int64 inputs (batch, sequence) in, float32 (batch, width) out.

    Libraries of custom operators are never registered, so a graph that needs one is refused at loading.
    """

    def __init__(self, path: Path, inputs: InputSpec, output: OutputSpec, *, threads: int | None = None) -> None:
        """Load a model file. `threads` None leaves the number to onnxruntime.

        Raises InputError where onnxruntime can't load it, or its inputs and outputs aren't the manifest's.
        """
        import onnxruntime  # here, as its import takes its time

        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1 (got {threads})")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = QUIET
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            session: Any = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no base class
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"{path}: onnxruntime {onnxruntime.__version__} can't load it ({reason})") from error
        have = {entry.name: entry.type for entry in session.get_inputs()}
        if have != dict.fromkeys(inputs.names, "tensor(int64)"):
            told = ", ".join(f"{name}: {kind}" for name, kind in have.items())
            raise InputError(
                f"{path}: the graph takes {told or 'nothing'}; the manifest says {', '.join(inputs.names)}, all int64"
            )
        outputs = [entry.name for entry in session.get_outputs()]
        if output.name not in outputs:
            raise InputError(f"{path}: the graph has no output {output.name!r}; it has: {', '.join(outputs)}")
        self._session, self._output, self._path = session, output, path

    def run(self, feeds: dict[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """Feeds, each int64 (batch, sequence), to float32 (batch, width).

        Raises InputError where the graph fails, or answers in another shape or with NaN or infinities.
        """
        try:
            result = self._session.run([self._output.name], feeds)[0]
        except Exception as error:  # onnxruntime's errors share no base class
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"{self._path}: onnxruntime can't run it ({reason})") from error
        logits: npt.NDArray[np.float32] = np.asarray(result, dtype=np.float32)
        wanted = (len(next(iter(feeds.values()))), self._output.width)
        if logits.shape != wanted:
            raise InputError(f"{self._path}: {self._output.name} has shape {logits.shape}, not {wanted}")
        if not np.isfinite(logits).all():
            raise InputError(f"{self._path}: {self._output.name} holds NaN or infinities")
        return logits


def open_session(bundle: Bundle, variant: str | None = None, *, threads: int | None = None) -> GraphSession:
    """Load a variant of a bundle; None is its default. Raises InputError, also for an unknown variant."""
    manifest = bundle.manifest
    path = bundle.file(manifest.variant(variant).file)
    return GraphSession(path, manifest.input, manifest.output, threads=threads)
