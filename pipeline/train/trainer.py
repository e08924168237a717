"""transformers' Trainer, taught that only an adapter and a head are trained and saved."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Sampler, SequentialSampler
from transformers import Trainer, TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from pipeline.train.learning import Learning
from pipeline.train.plan import Plan
from pipeline.train.tuned import Tuned, put, trained
from serve.errors import InputError

WEIGHTS = "adapter_state.safetensors"
LOWER = "; try a lower train.learning_rate"
"""Advice for a training that diverged."""


class AdapterTrainer(Trainer):
    """A `Trainer` whose checkpoints hold the trained parameters only, and whose groups have rates of their own."""

    def __init__(
        self, tuned: Tuned, learning: Learning, plan: Plan, weights: torch.Tensor | None, **arguments: Any
    ) -> None:
        self.tuned = tuned
        self.learning = learning
        self.plan = plan
        self.class_weights = weights
        self.best: dict[str, torch.Tensor] | None = None
        """The best epoch's parameters, where no checkpoint holds them."""
        self._began = time.perf_counter()
        super().__init__(model=tuned.model, compute_loss_func=self.loss, **arguments)
        self.add_callback(_Clock(self))

    def loss(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: int | None = None) -> torch.Tensor:
        """That of what is learned, averaged over the optimizer step's rows; where each token has a loss, over the
        batch's labelled tokens."""
        weight = None if self.class_weights is None else self.class_weights.to(labels.device)
        smoothing = self.plan.label_smoothing if self.tuned.model.training else 0.0
        found = self.learning.losses(outputs, labels, weight=weight, smoothing=smoothing)
        if len(found) != len(labels):
            return found.mean()
        return found.sum() / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW: the adapter without decay at a rate of its own; the head at its own, with the plan's decay."""
        if self.optimizer is None:
            groups = self.tuned.trainable()
            self.optimizer = torch.optim.AdamW(
                [
                    {
                        "params": [value for _, value in groups["adapter"]],
                        "lr": self.plan.learning_rate,
                        "weight_decay": 0.0,
                    },
                    {
                        "params": [value for _, value in groups["head"]],
                        "lr": self.plan.head_learning_rate,
                        "weight_decay": self.plan.weight_decay,
                    },
                ]
            )
        return self.optimizer

    def start_clock(self) -> None:
        """Seconds count from here; a resumed run's from where its history ended."""
        spent = max((row.get("seconds", 0.0) for row in self.state.log_history), default=0.0)
        self._began = time.perf_counter() - spent

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Every entry of the history says at how many seconds of training it was made, a resumed run's included.

        Raises `InputError` for a loss that is not a number: what follows would be lost time.
        """
        if not all(math.isfinite(logs.get(name, 0.0)) for name in ("loss", "eval_loss")):
            raise InputError(f"training diverged at step {self.state.global_step}: the loss is not a number{LOWER}")
        super().log(logs | {"seconds": round(time.perf_counter() - self._began, 3)}, start_time)

    def trained(self) -> dict[str, torch.Tensor]:
        """The trained parameters by kind and name, detached, on the CPU."""
        return trained(self.tuned)

    def put(self, values: dict[str, torch.Tensor]) -> None:
        """Put trained parameters back in place."""
        put(self.tuned, values)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        del state_dict  # the whole model's, which no checkpoint needs
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.trained(), str(folder / WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        del model
        self.put(load_file(Path(resume_from_checkpoint) / WEIGHTS))

    def _load_best_model(self) -> None:
        if self.state.best_model_checkpoint is not None:  # by name: the run's folder may have moved since
            best = Path(str(self.args.output_dir)) / Path(self.state.best_model_checkpoint).name
            self.put(load_file(best / WEIGHTS))

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        better = bool(super()._determine_best_metric(metrics, trial))
        if better and not self.plan.checkpoint:
            self.best = self.trained()
        return better

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        """Rows by their length, where that matters. transformers would look for the length of `input_ids`."""
        if not self.learning.by_length:
            return super()._get_train_sampler(train_dataset)
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        lengths = [rows.length(place) for place in range(len(rows))]
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(size, lengths=lengths)

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int] | None:
        """Rows in their order. transformers would group them by length here too, and predictions with them."""
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """Rows of a step. transformers doesn't count labels of -100, which here may be a number to predict."""
        counted = [{"labels": torch.zeros(len(batch["labels"]), dtype=torch.int64)} for batch in batch_samples]
        return super()._get_num_items_in_batch(counted, device)


class _Clock(TrainerCallback):
    """Starts the trainer's clock with its first step."""

    def __init__(self, trainer: AdapterTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.trainer.start_clock()
