"""Progress of a training for the person who waits: steps, rate, time left."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Watch(TrainerCallback):
    """Shows steps, rate and time left on the console; times the steps."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.train_seconds = 0.0
        self.steps_timed = 0
        self._step_began = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step:
            self.progress.console.print(f"going on from the checkpoint of step {state.global_step}", highlight=False)
        self._task = self.progress.add_task("fine-tune", total=state.max_steps, completed=state.global_step, rate="")
        self.progress.start()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._step_began = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.train_seconds += time.perf_counter() - self._step_began
        self.steps_timed += 1
        rate = self.steps_timed / self.train_seconds
        self.progress.update(self._task, completed=state.global_step, rate=f"{rate:.2f} steps/s")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.progress.stop()
