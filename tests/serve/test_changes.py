"""The lock with two sides: changes side by side, a switch alone."""

from __future__ import annotations

import threading
import time

from serve.changes import Changes

PATIENCE = 10.0


def test_changes_overlap_and_a_switch_waits_for_them_all() -> None:
    changes, order = Changes(), list[str]()
    both, go = threading.Barrier(3), threading.Event()

    def change() -> None:
        with changes.shared():
            both.wait(PATIENCE)  # passes only where two hold it at once
            assert go.wait(PATIENCE)
            order.append("change")

    def switch() -> None:
        with changes.alone():
            order.append("switch")

    threads = [threading.Thread(target=change) for _ in range(2)]
    for thread in threads:
        thread.start()
    both.wait(PATIENCE)
    threads.append(threading.Thread(target=switch))
    threads[-1].start()
    time.sleep(0.02)
    assert order == []
    go.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert order == ["change", "change", "switch"]


def test_what_comes_during_a_switch_waits_also_where_it_fails() -> None:
    changes, order = Changes(), list[str]()

    def change() -> None:
        with changes.shared():
            order.append("change")

    thread = threading.Thread(target=change)
    try:
        with changes.alone():
            thread.start()
            time.sleep(0.02)
            order.append("switch")
            raise ValueError
    except ValueError:
        thread.join(PATIENCE)
    assert order == ["switch", "change"]
