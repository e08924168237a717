"""The training: it learns, repeats itself, survives being broken, keeps the best, and says when it can't."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learnable_task import Task
from safetensors.torch import load_file
from torch.nn import functional

from pipeline.train.fit import class_weights
from pipeline.train.metrics import score
from pipeline.train.plan import Plan
from pipeline.train.trainer import WEIGHTS, AdapterTrainer
from pipeline.train.watch import Watch
from serve.errors import InputError, UsageError


def weights(task: Task) -> dict[str, torch.Tensor]:
    groups = task.svfit.trainable()
    return {f"{kind}.{name}": value.detach().clone() for kind, group in groups.items() for name, value in group}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


class Broken(RuntimeError):  # noqa: N818  (what happened, not a fault of ours)
    """The power went."""


def break_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Training stops dead once it has made `step` steps."""
    original = Watch.on_step_end

    def on_step_end(self: Watch, args: Any, state: Any, control: Any, **rest: Any) -> None:
        original(self, args, state, control, **rest)
        if state.global_step == step:
            raise Broken

    patch.setattr(Watch, "on_step_end", on_step_end)


# ---- learning


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_learnable_task_is_learned(task: Task, name: str) -> None:
    task.name, task.count = name, 192
    found = task(epochs=8)
    assert found.record["best"]["value"] > 0.9
    rows = task.rows(3, 64)
    logits = found.logits(rows)
    assert logits.shape == (64, 2)
    assert logits.dtype == np.float32
    assert score(task.kind, logits, rows.labels)["accuracy"] > 0.9


def test_logits_come_in_the_order_of_the_rows(task: Task) -> None:
    found = task(epochs=1)
    rows = task.rows(3, 70)  # more than a batch, of many lengths
    model = task.svfit.model.eval()
    with torch.no_grad():
        alone = [model(**{k: torch.tensor([v]) for k, v in row.items()}).logits[0] for row in rows.encoded]
    # padding changes the order of float32 sums, nothing else
    np.testing.assert_allclose(found.logits(rows), torch.stack(alone).numpy(), rtol=1e-4, atol=1e-5)


def test_numbers_are_learned(task: Task) -> None:
    task.kind, task.labels, task.count = "text-regression", 1, 192
    found = task(epochs=8, metric="pearson")
    assert found.record["best"]["value"] > 0.9
    assert found.logits(task.rows(3, 8)).shape == (8, 1)
    assert set(found.record["validation"][0]) >= {"pearson", "spearman", "mse", "mae", "loss"}


def test_the_record_is_whole_and_ready_for_json(task: Task) -> None:
    record = task(epochs=2).record
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["steps"] == 12  # 96 rows, 16 a step, twice
    assert [row["epoch"] for row in record["validation"]] == [1.0, 2.0]
    assert {"step", "epoch", "seconds", "loss", "lr"} == set(record["curve"][0])
    assert [row["seconds"] for row in record["curve"]] == sorted(row["seconds"] for row in record["curve"])
    assert record["seconds"] > 0
    assert record["seconds_per_step"] == pytest.approx(record["seconds"] / 12)
    assert record["peak_memory_bytes"] > 2**20
    assert (record["device"], record["precision"]) == ("cpu", "fp32")


def test_the_rates_are_those_of_the_plan(task: Task) -> None:
    trainer = task(epochs=1, schedule="constant", warmup=0.0, weight_decay=0.5).trainer
    assert trainer.optimizer is not None
    adapter, head = trainer.optimizer.param_groups
    assert (adapter["lr"], adapter["weight_decay"]) == (0.1, 0.0)
    assert (head["lr"], head["weight_decay"]) == (0.01, 0.5)
    assert {value.dim() for value in adapter["params"]} == {1}


def test_only_what_is_trained_moves(task: Task) -> None:
    task(epochs=1)
    plain = task.model("bert", labels=2).state_dict()
    frozen = {name: value for name, value in task.svfit.model.state_dict().items() if ".delta." not in name}
    moved = {name for name, value in frozen.items() if not torch.equal(value, plain[name.replace(".base.", ".")])}
    assert moved == {"classifier.weight", "classifier.bias"}
    assert all(bool((value != 0).any()) for _, value in task.svfit.trainable()["adapter"])


# ---- repeating


def test_one_seed_gives_one_result_and_another_seed_another(task: Task) -> None:
    task("one", epochs=1)
    first = weights(task)
    task("two", epochs=1)
    assert same(weights(task), first)
    task("three", epochs=1, seed=1)
    assert not same(weights(task), first)


@pytest.mark.parametrize("step", [7, 12, 17])  # six steps an epoch: amid the second, at its end, late
def test_a_broken_training_goes_on_to_the_unbroken_result(
    task: Task, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    unbroken = task("whole").record
    wanted = weights(task)
    with monkeypatch.context() as patch:
        break_at(patch, step)
        with pytest.raises(Broken):
            task("broken")
    assert not same(weights(task), wanted)
    resumed = task("broken")
    assert resumed.record["steps"] == unbroken["steps"]
    assert resumed.trainer.state.global_step == 18
    assert same(weights(task), wanted)
    timed = ("seconds", "step")
    for key in ("validation", "curve"):
        left = [{name: value for name, value in row.items() if name not in timed} for row in resumed.record[key]]
        right = [{name: value for name, value in row.items() if name not in timed} for row in unbroken[key]]
        assert left == right


def test_a_training_is_taken_up_where_its_folder_was_moved_to(task: Task, tmp_path: Path) -> None:
    task("first")
    wanted = weights(task)
    (tmp_path / "first").rename(tmp_path / "moved")
    task("moved")
    assert same(weights(task), wanted)


def test_a_half_written_checkpoint_is_passed_over(task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    task("whole")
    wanted = weights(task)
    with monkeypatch.context() as patch:
        break_at(patch, 13)
        with pytest.raises(Broken):
            task("broken")
    (tmp_path / "broken" / "checkpoint-13").mkdir()  # broken before its state was written
    task("broken")
    assert same(weights(task), wanted)


def test_a_finished_training_is_not_trained_again(task: Task) -> None:
    task()
    wanted = weights(task)
    assert task().record["steps"] == 18
    assert same(weights(task), wanted)


def test_checkpoints_hold_the_trained_parameters_only(task: Task, tmp_path: Path) -> None:
    task(epochs=2)
    folders = sorted((tmp_path / "out").glob("checkpoint-*"))
    assert folders
    for folder in folders:
        assert load_file(folder / WEIGHTS).keys() == weights(task).keys()
        names = {path.name for path in folder.iterdir()}
        assert names == {WEIGHTS, "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}


# ---- the best epoch


@pytest.mark.parametrize("checkpoint", [True, False])
@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_the_best_epoch_is_kept(task: Task, monkeypatch: pytest.MonkeyPatch, checkpoint: bool, metric: str) -> None:
    values = iter([0.5, 0.9, 0.9, 0.4] if metric == "accuracy" else [0.5, 0.1, 0.1, 0.6])
    seen: list[dict[str, torch.Tensor]] = []
    original = AdapterTrainer.evaluation_loop

    def evaluation_loop(self: AdapterTrainer, *given: Any, **named: Any) -> Any:
        output = original(self, *given, **named)
        seen.append(weights(task))
        output.metrics[f"eval_{metric}"] = next(values)  # type: ignore[index]
        return output

    monkeypatch.setattr(AdapterTrainer, "evaluation_loop", evaluation_loop)
    found = task(epochs=4, checkpoint=checkpoint, metric=metric)
    assert found.record["best"]["epoch"] == 2.0
    assert len(seen) == 4
    assert same(weights(task), seen[1]), "the first of the equally good"
    assert not same(weights(task), seen[3])


@pytest.mark.parametrize("checkpoint", [True, False])
def test_training_stops_early_when_nothing_improves(
    task: Task, monkeypatch: pytest.MonkeyPatch, checkpoint: bool
) -> None:
    monkeypatch.setattr("pipeline.train.learning.score", lambda *_: {"accuracy": 0.5})
    record = task(epochs=9, early_stopping=2, checkpoint=checkpoint).record
    assert [row["epoch"] for row in record["validation"]] == [1.0, 2.0, 3.0]
    assert record["best"]["epoch"] == 1.0


def improving_until(patch: pytest.MonkeyPatch, task: Task, epoch: int) -> None:
    """Validation gets better until `epoch`, then worse, then, too late, better than ever."""
    values = {at: 0.1 * at if at <= epoch else 0.0 for at in range(1, epoch + 3)}

    def made_up(*_: Any) -> dict[str, float]:
        at = round(trainers[-1].state.epoch or 0)
        return {"accuracy": values.get(at, 1.0)}

    trainers: list[AdapterTrainer] = []
    original = AdapterTrainer.__init__

    def remember(self: AdapterTrainer, *given: Any, **named: Any) -> None:
        trainers.append(self)
        original(self, *given, **named)

    patch.setattr(AdapterTrainer, "__init__", remember)
    patch.setattr("pipeline.train.learning.score", made_up)


@pytest.mark.parametrize("step", [13, 19])  # in the third epoch and in the fourth; epoch 2 is the best
def test_patience_counts_on_after_a_break(task: Task, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    improving_until(monkeypatch, task, 2)
    unbroken = task("whole", epochs=9, early_stopping=2).record
    wanted = weights(task)
    assert [row["epoch"] for row in unbroken["validation"]] == [1.0, 2.0, 3.0, 4.0]
    with monkeypatch.context() as patch:
        break_at(patch, step)
        with pytest.raises(Broken):
            task("broken", epochs=9, early_stopping=2)
    resumed = task("broken", epochs=9, early_stopping=2).record
    assert [row["epoch"] for row in resumed["validation"]] == [1.0, 2.0, 3.0, 4.0]
    assert same(weights(task), wanted)


def test_a_training_that_stopped_early_stays_stopped(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    improving_until(monkeypatch, task, 2)
    first = task(epochs=9, early_stopping=2)
    wanted = weights(task)
    again = task(epochs=9, early_stopping=2)
    assert [row["epoch"] for row in again.record["validation"]] == [1.0, 2.0, 3.0, 4.0]
    assert again.record["steps"] == first.record["steps"]
    assert same(weights(task), wanted)
    rows = task.rows(3, 8)
    assert again.logits(rows).shape == (8, 2)


def test_without_checkpoints_nothing_is_written(task: Task, tmp_path: Path) -> None:
    task(epochs=1, checkpoint=False)
    assert list(tmp_path.glob("out/*")) == []


@pytest.mark.parametrize("early_stopping", [0, 2])
def test_training_stops_after_so_many_steps(task: Task, early_stopping: int) -> None:
    record = task(epochs=9, max_steps=4, early_stopping=early_stopping).record
    assert record["steps"] == 4
    assert record["best"] is None


# ---- the loss


def trainer_for(task: Task, **plan: Any) -> AdapterTrainer:
    trainer: AdapterTrainer = task(max_steps=1, **plan).trainer
    trainer.tuned.model.train()
    return trainer


class Outputs:
    """What a model gives."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


LOGITS, CLASSES = torch.tensor([[2.0, -1.0], [0.5, 0.25], [0.0, 3.0]]), torch.tensor([0, 1, 1])


def test_the_loss_is_cross_entropy_averaged_over_the_step_s_rows(task: Task) -> None:
    trainer = trainer_for(task)
    wanted = functional.cross_entropy(LOGITS, CLASSES)
    torch.testing.assert_close(trainer.loss(Outputs(LOGITS), CLASSES), wanted)
    torch.testing.assert_close(trainer.loss(Outputs(LOGITS), CLASSES, 12), wanted * 3 / 12)


def test_labels_are_smoothed_in_training_only(task: Task) -> None:
    trainer = trainer_for(task, label_smoothing=0.2)
    smooth = functional.cross_entropy(LOGITS, CLASSES, label_smoothing=0.2)
    torch.testing.assert_close(trainer.loss(Outputs(LOGITS), CLASSES), smooth)
    trainer.tuned.model.eval()
    torch.testing.assert_close(trainer.loss(Outputs(LOGITS), CLASSES), functional.cross_entropy(LOGITS, CLASSES))


def test_a_number_of_minus_a_hundred_is_a_number(task: Task) -> None:
    """transformers takes a label of -100 for one to ignore."""
    task.kind, task.labels = "text-regression", 1
    trainer = trainer_for(task, metric="pearson")
    batch = {"labels": torch.tensor([-100.0, -100.0, 5.0])}
    assert trainer._get_num_items_in_batch([batch], torch.device("cpu")) == 3


def test_rare_classes_weigh_more(task: Task) -> None:
    rows = task.rows(1, 8)
    rows.labels = [0, 0, 0, 0, 0, 0, 1, 1]
    assert class_weights(rows, 2).tolist() == pytest.approx([8 / (2 * 6), 8 / (2 * 2)])
    assert class_weights(rows, 3).tolist() == pytest.approx([8 / (3 * 6), 8 / (3 * 2), 1.0])
    trainer = trainer_for(task)
    trainer.class_weights = torch.tensor([1.0, 3.0])
    each = functional.cross_entropy(LOGITS, CLASSES, reduction="none")
    wanted = (each * torch.tensor([1.0, 3.0, 3.0])).sum() / 3
    torch.testing.assert_close(trainer.loss(Outputs(LOGITS), CLASSES), wanted)


def test_class_weights_are_used_when_asked(task: Task) -> None:
    assert task(max_steps=1).trainer.class_weights is None
    found = task(max_steps=1, class_weights=True).trainer.class_weights
    assert found is not None
    assert torch.equal(found, class_weights(task.rows(1, task.count), 2))


def test_gradient_accumulation_is_one_larger_batch(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def gradients(folder: str, **plan: Any) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}

        def keep(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
            for name, value in task.svfit.trainable()["adapter"]:
                assert value.grad is not None
                found[name] = value.grad.clone()

        monkeypatch.setattr(Watch, "on_pre_optimizer_step", keep)
        task(folder, max_steps=1, max_grad_norm=0.0, **plan)
        return found

    tiny = task.model
    task.model = lambda name, labels: tiny(
        name, labels=labels, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0
    )
    large = gradients("large", batch_size=16)
    small = gradients("small", batch_size=8, gradient_accumulation=2)
    assert large.keys() == small.keys() != set()
    scale = max(float(value.abs().max()) for value in large.values())
    for name, value in large.items():  # the same sums in another order, float32
        torch.testing.assert_close(small[name], value, rtol=1e-4, atol=1e-5 * scale)


def test_gradients_are_clipped_or_not(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    original = AdapterTrainer._clip_grad_norm

    def clip(self: AdapterTrainer, model: Any) -> Any:
        asked.append(self.args.max_grad_norm)
        return original(self, model)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(AdapterTrainer, "_clip_grad_norm", clip)
    task(max_steps=2, max_grad_norm=0.0)
    assert asked == []
    task(max_steps=2, max_grad_norm=0.5)
    assert asked == [0.5, 0.5]


# ---- what can't work


def test_a_loss_that_is_no_number_ends_the_training_at_once(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    original = AdapterTrainer.loss

    def loss(self: AdapterTrainer, *given: Any, **named: Any) -> torch.Tensor:
        value = original(self, *given, **named)
        return value * float("nan") if self.state.global_step >= 7 else value  # in the second epoch

    monkeypatch.setattr(AdapterTrainer, "loss", loss)
    with pytest.raises(InputError, match=r"training diverged at step \d+: .*lower train\.learning_rate"):
        task(epochs=9)
    assert task.svfit.active == "default"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
def test_a_device_that_is_not_here_is_told(task: Task) -> None:
    with pytest.raises(UsageError, match=r"train\.device: cuda is not on this machine; available: cpu"):
        task(device="cuda")
    with pytest.raises(UsageError, match=r"train\.precision: fp16 needs a CUDA GPU"):
        task(precision="fp16")


def test_bf16_on_the_cpu_keeps_the_adapter_in_float32(task: Task) -> None:
    record = task(max_steps=2, precision="bf16").record
    assert record["precision"] == "bf16"
    assert {value.dtype for value in weights(task).values()} == {torch.float32}


def test_a_plan_is_good_without_being_told_anything() -> None:
    assert Plan().epochs == 3
