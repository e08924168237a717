"""LitServe around PyTorch and PEFT, as its documentation does it; started by rivals.py in LitServe's environment.

    PYTHONPATH=. /tmp/litserve/bin/python benchmarks/rivals_litserve.py BUNDLE COUNT PORT WORKERS [batched]

POST /predict takes {"text": [...], "adapter": [...]}, one adapter a row, and gives {"results": [{label, score}, ...]}.
`batched` lets LitServe gather up to 16 requests for 5 ms, and PEFT mix their adapters in one pass (`adapter_names`).
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any

import litserve
from common import LABELS, small_adapters
from rivals_torch import PeftModels

from serve.bundle import Bundle
from serve.tasks.text_classification import likeliest

GATHERED, WAIT = 16, 0.005  # requests, seconds


class Tasks(litserve.LitAPI):  # type: ignore[misc, unused-ignore]
    """One worker: the base model with all adapters."""

    def __init__(self, path: Path, count: int, *, batched: bool) -> None:
        super().__init__(**({"max_batch_size": GATHERED, "batch_timeout": WAIT} if batched else {}))
        self._path, self._count, self._batched = path, count, batched

    def setup(self, device: str) -> None:
        bundle = Bundle.open(self._path)
        self._models = PeftModels(bundle, small_adapters(bundle, self._count), threads=1)

    def decode_request(self, request, **_: Any) -> tuple[list[str], list[str]]:  # type: ignore[no-untyped-def]
        """`request` has no type, as LitServe makes a query parameter of any it doesn't know."""
        return request["text"], request["adapter"]

    def predict(self, asked: Any, **_: Any) -> Any:
        if not self._batched:
            return self._models.split(*asked)
        texts = [text for texts, _ in asked for text in texts]
        rows = iter(self._models.together(texts, [task for _, tasks in asked for task in tasks]))
        return [list(islice(rows, len(texts))) for texts, _ in asked]

    def encode_response(self, output: Any, **_: Any) -> dict[str, Any]:
        given = [likeliest("text-classification", logits, LABELS) for logits in output]
        return {"results": [{"label": one.label, "score": one.score} for one in given]}


def main() -> None:
    path, count, port, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    api = Tasks(path, count, batched=sys.argv[5:] == ["batched"])
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
