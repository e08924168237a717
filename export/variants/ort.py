"""onnxruntime's own format: what its minimal builds read, and the list of operators to build one with."""

from __future__ import annotations

import tempfile
from pathlib import Path

from export.quiet import quiet
from serve.errors import InputError
from serve.files import write_bytes
from serve.session import load, session_options

OPERATORS = "required_operators.config"


def write_ort(source: Path, out: Path) -> int:
    """Write the graph `source` as `out` (`.ort`), and OPERATORS beside it, both atomically; gives the bytes of `out`.

    onnxruntime optimizes the graph first, as far as every processor can follow: layouts of one processor's own are
    left out. OPERATORS is what onnxruntime's build.py takes as `--include_ops_by_config`. Raises InputError where
    onnxruntime can't load the source.
    """
    import onnxruntime
    from onnxruntime.tools.ort_format_model import create_config_from_models

    if source.with_name(f"{source.name}.data").exists():
        raise InputError(f"{source}: has more than 2 GB of weights; onnxruntime's format holds up to 2 GB")
    with tempfile.TemporaryDirectory() as folder:
        made, config = Path(folder) / "model.ort", Path(folder) / OPERATORS
        options = session_options()
        options.optimized_model_filepath = str(made)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.add_session_config_entry("session.save_model_format", "ORT")
        load(source, options)
        with quiet():
            create_config_from_models([made], config, False)
        lines = [line for line in config.read_text("utf-8").splitlines() if not line.startswith("#")]
        data = made.read_bytes()
        write_bytes(out, data)
        write_bytes(out.with_name(OPERATORS), ("\n".join(lines) + "\n").encode())
    return len(data)
