"""Work in another process: answers, errors, crashes, and what is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.compare.worker import CrashError, Tell, in_own_process
from serve.errors import InputError, MissingDependency, UsageError


def answer(tell: Tell) -> dict[str, Any]:
    tell(1, 2)
    tell(2, 2)
    return {"process": os.getpid()}


def chatter(_: Tell) -> dict[str, Any]:
    print("to stdout")  # noqa: T201
    print("to stderr", file=sys.stderr)  # noqa: T201
    return {}


def diverge(_: Tell) -> dict[str, Any]:
    raise InputError("training diverged")


def refuse(_: Tell) -> dict[str, Any]:
    raise UsageError("no such device")


def lack(_: Tell) -> dict[str, Any]:
    raise MissingDependency("peft", "train", "lora")


def stumble(_: Tell) -> dict[str, Any]:
    raise ZeroDivisionError("by zero")


def starve(_: Tell) -> dict[str, Any]:
    raise MemoryError


def die(_: Tell) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def test_work_is_done_elsewhere_and_reports_on_the_way(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    found = in_own_process(answer, tmp_path / "log", lambda *at: told.append(at))
    assert found["process"] != os.getpid()
    assert told[-1] == (2, 2)
    assert not (tmp_path / "log").exists()


def test_what_it_prints_stays_out_of_ours(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    in_own_process(chatter, tmp_path / "log", lambda *_: None)
    assert capfd.readouterr() == ("", "")
    assert "to stdout" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("work", "kind", "said"),
    [
        (diverge, InputError, "^training diverged$"),
        (refuse, UsageError, "^no such device$"),
        (lack, CrashError, r"pip install 'svfit\[train\]'"),
        (stumble, CrashError, "unexpected ZeroDivisionError: by zero; its output is in .*log"),
        (starve, CrashError, "out of memory; try --set train.batch_size=8"),
        (die, CrashError, "was killed, perhaps for want of memory"),
    ],
)
def test_an_error_comes_back_as_what_it_was_and_a_crash_as_a_crash(
    tmp_path: Path, work: Callable[[Tell], dict[str, Any]], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        in_own_process(work, tmp_path / "log", lambda *_: None)


def test_interrupted_it_leaves_no_process(tmp_path: Path) -> None:
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_own_process(answer, tmp_path / "log", stop)
    assert multiprocessing.active_children() == []
