"""The order of a comparison, on trainings that are made up: what is trained, judged, kept and tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.compare.cell import TRAINED, Cell
from pipeline.compare.engine import Engine, Swept, Testing, Training
from pipeline.compare.ledger import Ledger
from pipeline.compare.worker import CrashError
from pipeline.methods import method
from pipeline.train.plan import Plan
from serve.errors import InputError, UsageError

LORA = method("lora")
LOW, MIDDLE, HIGH = LORA.rates(3)


class Problem:
    task = "text-classification"
    metric = "accuracy"


@dataclass
class Stage:
    """Trains nothing: `reach[rate, seed]` is a score, or the error that the training ends with."""

    reach: Mapping[tuple[float, int], Any]
    loss: Mapping[float, float] = field(default_factory=dict)
    done: list[tuple[str, float, int]] = field(default_factory=list)

    def __call__(self, work: Any, log: Path, tell: Callable[[int, int], None]) -> dict[str, Any]:
        cell: Cell = work.cell
        if isinstance(work, Testing):
            assert (work.folder / TRAINED).read_text() == cell.key
            self.done.append(("test", cell.rate, cell.seed))
            return {"accuracy": 0.5}
        assert isinstance(work, Training)
        self.done.append(("train", cell.rate, cell.seed))
        found = self.reach.get((cell.rate, cell.seed), 0.1)
        if isinstance(found, BaseException):
            raise found
        (work.folder / TRAINED).write_text(cell.key)
        tell(1, 1)
        return {"validation": {"accuracy": found, "loss": self.loss.get(cell.rate, 1.0)}}


class Log:
    def __init__(self) -> None:
        self.ended: list[tuple[float, int, bool]] = []
        self.skipped = 0
        self.again_for: list[tuple[float, int]] = []

    def begin(self, cell: Cell, phase: str) -> None: ...

    def step(self, done: int, total: int) -> None: ...

    def end(self, cell: Cell, record: dict[str, Any], *, kept: bool) -> None:
        self.ended.append((cell.rate, cell.seed, kept))

    def again(self, cell: Cell) -> None:
        self.again_for.append((cell.rate, cell.seed))

    def skip(self, cells: int) -> None:
        self.skipped += cells


def engine(
    folder: Path, stage: Stage, *, tests: str | None = "rows", config: str = "a", log: Log | None = None
) -> Engine:
    problem: Any = Problem()
    return Engine(
        problem, Plan(), Ledger(folder), lambda cell: f"{config} {cell.key}", tests, stage, log or Log(), threads=0
    )


def sweep(folder: Path, stage: Stage, **options: Any) -> Swept:
    return engine(folder, stage, **options).sweep(LORA, 3, (0, 1, 2))


GOOD = {(LOW, 0): 0.7, (MIDDLE, 0): 0.9, (HIGH, 0): 0.8, (MIDDLE, 1): 0.85, (MIDDLE, 2): 0.88}
TRAININGS = [("train", LOW, 0), ("train", MIDDLE, 0), ("train", HIGH, 0)]


def test_validation_chooses_the_rate_and_only_it_meets_other_seeds_and_test_rows(tmp_path: Path) -> None:
    stage = Stage(GOOD)
    found = sweep(tmp_path, stage)
    assert found.rate == MIDDLE
    assert stage.done == [
        *TRAININGS,
        ("test", MIDDLE, 0),
        ("train", MIDDLE, 1),
        ("test", MIDDLE, 1),
        ("train", MIDDLE, 2),
        ("test", MIDDLE, 2),
    ]
    assert [(seed, record["test"]) for seed, record in found.seeds] == [(seed, {"accuracy": 0.5}) for seed in (0, 1, 2)]
    assert all("test" not in record for rate, record in found.tried if rate != MIDDLE)


def test_what_lost_is_deleted_and_what_won_is_kept_until_it_met_the_test_rows(tmp_path: Path) -> None:
    sweep(tmp_path, Stage(GOOD), tests=None)
    ledger = Ledger(tmp_path)
    assert [ledger.holds(Cell("lora", rate, 0)) for rate in (LOW, MIDDLE, HIGH)] == [False, True, False]
    assert ledger.holds(Cell("lora", MIDDLE, 2))
    sweep(tmp_path, Stage({}))
    assert not any(ledger.holds(Cell("lora", MIDDLE, seed)) for seed in (0, 1, 2))


def test_other_test_rows_are_met_by_what_is_trained_again_and_told_so(tmp_path: Path) -> None:
    sweep(tmp_path, Stage(GOOD))
    stage, log = Stage(GOOD), Log()
    found = sweep(tmp_path, stage, tests="others", log=log)
    assert stage.done == [(what, MIDDLE, seed) for seed in (0, 1, 2) for what in ("train", "test")]
    assert log.again_for == [(MIDDLE, seed) for seed in (0, 1, 2)]
    assert [end for end in log.ended if not end[2]] == [(MIDDLE, seed, False) for seed in (0, 1, 2)]
    assert all(record["test_sha256"] == "others" for _, record in found.seeds)


def test_a_rate_that_diverges_is_a_failed_rate_and_not_the_end(tmp_path: Path) -> None:
    stage = Stage(GOOD | {(HIGH, 0): InputError("training diverged at step 3")})
    found = sweep(tmp_path, stage)
    assert found.rate == MIDDLE
    assert found.tried[2][1] | {"wall_seconds": 0} == {
        "status": "failed",
        "reason": "training diverged at step 3",
        "wall_seconds": 0,
    }


def test_a_method_whose_rates_all_fail_has_no_rate_and_touches_no_test_rows(tmp_path: Path) -> None:
    log = Log()
    stage = Stage({(rate, 0): InputError("diverged") for rate in (LOW, MIDDLE, HIGH)})
    found = sweep(tmp_path, stage, log=log)
    assert (found.rate, found.finished, found.seeds) == (None, [], [])
    assert stage.done == TRAININGS
    assert log.skipped + len(log.ended) == 5


def test_a_seed_that_fails_at_the_chosen_rate_leaves_the_others(tmp_path: Path) -> None:
    found = sweep(tmp_path, Stage(GOOD | {(MIDDLE, 1): InputError("diverged")}))
    assert [seed for seed, _ in found.finished] == [0, 2]


def test_a_request_that_makes_no_sense_ends_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="device"):
        sweep(tmp_path, Stage({(LOW, 0): UsageError("train.device: cuda is not on this machine")}))


@pytest.mark.parametrize("after", range(8))
def test_interrupted_anywhere_it_goes_on_where_it_was(tmp_path: Path, after: int) -> None:
    whole = Stage(GOOD)
    wanted = sweep(tmp_path / "whole", whole)

    class Broken(Stage):
        def __call__(self, *work: Any) -> dict[str, Any]:
            if len(self.done) == after:
                raise KeyboardInterrupt
            return super().__call__(*work)

    first, second = Broken(GOOD), Stage(GOOD)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "broken", first)
    found = sweep(tmp_path / "broken", second)
    assert first.done + second.done == whole.done
    assert found.rate == wanted.rate
    assert [record["test"] for _, record in found.seeds] == [record["test"] for _, record in wanted.seeds]


def test_a_second_time_nothing_is_trained_and_everything_is_told_as_kept(tmp_path: Path) -> None:
    sweep(tmp_path, Stage(GOOD))
    stage, log = Stage({}), Log()
    found = sweep(tmp_path, stage, log=log)
    assert (found.rate, stage.done) == (MIDDLE, [])
    assert log.ended == [
        (rate, seed, True) for rate, seed in ((LOW, 0), (MIDDLE, 0), (HIGH, 0), (MIDDLE, 1), (MIDDLE, 2))
    ]


def test_another_configuration_trains_anew(tmp_path: Path) -> None:
    sweep(tmp_path, Stage(GOOD))
    stage = Stage(GOOD)
    sweep(tmp_path, stage, config="b")
    assert stage.done[:3] == TRAININGS


def test_test_rows_that_come_later_are_read_without_training(tmp_path: Path) -> None:
    sweep(tmp_path, Stage(GOOD), tests=None)
    stage = Stage({})
    found = sweep(tmp_path, stage)
    assert stage.done == [("test", MIDDLE, seed) for seed in (0, 1, 2)]
    assert all(record["test"] for _, record in found.seeds)


def test_a_crash_is_tried_again_next_time_and_a_failure_is_not(tmp_path: Path) -> None:
    broken = {(LOW, 0): CrashError("killed"), (HIGH, 0): InputError("diverged")}
    assert sweep(tmp_path, Stage(GOOD | broken)).tried[0][1]["status"] == "crashed"
    stage = Stage(GOOD)
    found = sweep(tmp_path, stage)
    assert stage.done == [("train", LOW, 0)]
    assert [record["status"] for _, record in found.tried] == ["done", "done", "failed"]


def test_a_crash_on_the_test_rows_costs_no_training(tmp_path: Path) -> None:
    class Broken(Stage):
        def __call__(self, work: Any, *rest: Any) -> dict[str, Any]:
            if isinstance(work, Testing) and work.cell.seed == 1:
                raise CrashError("killed")
            return super().__call__(work, *rest)

    found = sweep(tmp_path, Broken(GOOD))
    assert [seed for seed, _ in found.finished] == [0, 2]
    assert found.seeds[1][1]["reason"] == "on the test rows: killed"
    stage = Stage({})
    assert [seed for seed, _ in sweep(tmp_path, stage).finished] == [0, 1, 2]
    assert stage.done == [("test", MIDDLE, 1)]


def test_more_rates_may_make_a_loser_win_which_is_then_trained_again_for_its_test(tmp_path: Path) -> None:
    sweep(tmp_path, Stage(GOOD | {(LOW, 0): InputError("diverged"), (HIGH, 0): 0.95}))
    ledger = Ledger(tmp_path)
    assert not ledger.holds(Cell("lora", MIDDLE, 0))
    stage = Stage(GOOD)
    found = engine(tmp_path, stage).sweep(LORA, 1, (0,))
    assert (found.rate, stage.done) == (MIDDLE, [("train", MIDDLE, 0), ("test", MIDDLE, 0)])


def test_of_rates_that_score_the_same_the_lower_loss_wins(tmp_path: Path) -> None:
    same = {(rate, 0): 0.9 for rate in (LOW, MIDDLE, HIGH)}
    assert sweep(tmp_path, Stage(same, {LOW: 0.5, MIDDLE: 0.4, HIGH: 0.3})).rate == HIGH


def test_a_metric_that_should_be_low_is_taken_low(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Problem, "metric", "loss")
    assert sweep(tmp_path, Stage(GOOD, {LOW: 0.2, MIDDLE: 0.4, HIGH: 0.3})).rate == LOW


def test_a_record_that_is_damaged_counts_as_none(tmp_path: Path) -> None:
    sweep(tmp_path, Stage(GOOD))
    (Ledger(tmp_path).place(Cell("lora", LOW, 0)) / "record.json").write_text('{"status": "do')
    stage = Stage(GOOD)
    sweep(tmp_path, stage)
    assert stage.done == [("train", LOW, 0)]
