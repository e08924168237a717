"""Which int8: bits, scales and embeddings compared on the model that banking77.py fine-tuned.

    python benchmarks/banking77.py && python benchmarks/int8.py       # the second takes about 3 minutes

Judged on the validation rows (test rows are not touched). Throughput is a ratio to fp32 in the same run, one thread.
Keeps int8.json in benchmarks/results, or the folder that is given.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from rich.console import Console

from export.int8 import layers
from export.measure import measure, repeat_row
from export.quiet import quiet
from pipeline.config import load
from pipeline.stages.context import Context
from pipeline.stages.evaluate import Evaluation
from pipeline.stages.export import GRAPH, input_spec

HERE = Path(__file__).parent
RUN = Path("runs/banking77-seed0")
PRODUCTS, ALL = ["MatMul"], ["MatMul", "Gather"]
VARIANTS: dict[str, dict[str, Any]] = {
    "products, a scale for each tensor, 8 bits": {"ops": PRODUCTS, "per_channel": False, "reduce_range": False},
    "products, a scale for each tensor, 7 bits": {"ops": PRODUCTS, "per_channel": False, "reduce_range": True},
    "products, a scale for each column, 8 bits": {"ops": PRODUCTS, "per_channel": True, "reduce_range": False},
    "products, a scale for each column, 7 bits": {"ops": PRODUCTS, "per_channel": True, "reduce_range": True},
    "and embeddings, 8 bits": {"ops": ALL, "per_channel": True, "reduce_range": False},
    "and embeddings, 7 bits (svfit's)": {"ops": ALL, "per_channel": True, "reduce_range": True},
}


def write(fp32: Path, out: Path, ops: list[str], per_channel: bool, reduce_range: bool) -> None:
    """One int8 graph."""
    model = onnx.load(str(fp32))
    gemms = {node.name for node in model.graph.node if node.op_type == "Gemm"}
    with quiet():
        quantize_dynamic(
            model,
            str(out),
            op_types_to_quantize=ops,
            nodes_to_quantize=[f"{name}_MatMul" if name in gemms else name for name in layers(model)],
            weight_type=QuantType.QInt8,
            per_channel=per_channel,
            reduce_range=reduce_range,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    out = parser.parse_args().out
    context = Context(load(HERE / "banking77.toml", ["train.seed=0"]), RUN, Console(stderr=True))
    evaluation = Evaluation(context, input_spec(context))
    with tempfile.TemporaryDirectory() as folder:
        files = {"fp32": RUN / "export" / GRAPH}
        for number, (name, options) in enumerate(VARIANTS.items()):
            files[name] = Path(folder) / f"{number}.onnx"
            write(files["fp32"], files[name], **options)
        single = evaluation.median_row()
        timed = measure(files, single, repeat_row(single), threads=1)
        print("| variant | validation accuracy | largest logit difference | size | throughput |\n|---|---|---|---|---|")
        kept = []
        for name, path in files.items():
            row = {
                "variant": name,
                "accuracy": evaluation.headline(path),
                "difference": evaluation.difference(files["fp32"], path),
                "megabytes": path.stat().st_size / 1e6,
                "throughput": timed[name]["throughput"] / timed["fp32"]["throughput"],
            }
            kept.append(row)
            print(
                f"| {name} | {row['accuracy']:.3f} | {row['difference']:.3f} | {row['megabytes']:.1f} MB "
                f"| {row['throughput']:.2f} |"
            )
    out.mkdir(parents=True, exist_ok=True)
    (out / "int8.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
