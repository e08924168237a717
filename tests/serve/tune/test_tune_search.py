from __future__ import annotations

from itertools import product

import pytest
from tune_stage import FakeMachine, usual

from serve.settings import Settings
from serve.tune.candidate import Candidate
from serve.tune.choice import Wishes, best
from serve.tune.search import Search, every, thread_counts

VARIANTS = ("fp32", "int8", "w8")


def searched(machine: FakeMachine, wishes: Wishes, seconds: float = 60.0) -> Search:
    search = Search(machine, VARIANTS, machine.cores, wishes, seconds, machine.clock)
    search.run()
    return search


@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(),
        Wishes(max_mb=131),
        Wishes(max_mb=103),
        Wishes(max_ms=3.0, max_mb=140),
        Wishes(min_accuracy=0.93),
        Wishes(max_mb=195, min_accuracy=0.93),
    ],
)
def test_it_finds_what_the_whole_product_finds_in_a_fraction_of_the_visits(wishes: Wishes) -> None:
    machine = FakeMachine(usual, accuracy={"fp32": 0.94})
    search = searched(machine, wishes)
    wanted = best(machine.all(*VARIANTS), wishes)
    found = best(search.measured, wishes)
    assert wanted is not None
    assert found is not None
    assert found.candidate == wanted.candidate
    assert len(machine.visits) < len(machine.all(*VARIANTS)) / 3
    assert not search.short_of_time


def test_within_its_time_it_stops_and_says_so() -> None:
    machine = FakeMachine(usual, cost=5.0)
    search = searched(machine, Wishes(), seconds=60.0)
    assert machine.now <= 60
    assert search.short_of_time
    assert {one.candidate.variant for one in search.measured} == set(VARIANTS)
    found = best(search.measured, Wishes())
    assert found is not None
    assert found.candidate.variant == "int8"


def test_every_variant_is_tried_even_where_the_time_is_too_short_for_that() -> None:
    machine = FakeMachine(usual, cost=50.0)
    search = searched(machine, Wishes(), seconds=1.0)
    assert [one.candidate.variant for one in search.measured] == list(VARIANTS)
    assert len(machine.visits) == len(VARIANTS)


def test_the_best_few_are_measured_again_in_turns() -> None:
    machine = FakeMachine(usual)
    searched(machine, Wishes())
    assert len(set(machine.visits[-9:])) == 3
    assert machine.visits[-9:-6] == machine.visits[-6:-3] == machine.visits[-3:]


def test_one_lucky_moment_does_not_decide() -> None:
    lucky = Candidate("int8", Settings(1))
    slow = {lucky: iter([1.0, 9.0, 9.0, 9.0])}

    def speed(candidate: Candidate) -> tuple[float, float, float]:
        ms = next(slow[candidate]) if candidate in slow else 5.0
        return ms, 100.0, 1.0

    machine = FakeMachine(speed, cores=2)
    search = searched(machine, Wishes())
    found = best(search.measured, Wishes())
    assert found is not None
    assert found.candidate != lucky


def test_a_variant_that_can_not_be_used_is_tried_once_and_told() -> None:
    machine = FakeMachine(usual, broken={"int8": "answers otherwise here"})
    search = searched(machine, Wishes())
    assert [one.variant for one in machine.visits].count("int8") == 1
    found = best(search.measured, Wishes())
    assert found is not None
    assert found.candidate.variant == "fp32"
    assert [one.problem for one in search.measured if one.problem] == ["answers otherwise here"]


def test_a_variant_less_accurate_than_wished_is_not_looked_into() -> None:
    machine = FakeMachine(usual, accuracy={"fp32": 0.94})
    searched(machine, Wishes(min_accuracy=0.93))
    tried = [one.variant for one in machine.visits]
    assert (tried.count("int8"), tried.count("w8")) == (1, 1)


def test_the_sweep_measures_everything_whatever_the_time() -> None:
    machine = FakeMachine(usual, cost=30.0)
    search = Search(machine, VARIANTS, 8, Wishes(), 60.0, machine.clock)
    search.sweep()
    assert {one.candidate for one in search.measured} == set(every(VARIANTS, [1, 2, 4, 8]))


def test_the_whole_product_has_nothing_twice_and_one_thread_never_spins() -> None:
    found = list(every(VARIANTS, [1, 2]))
    assert len(found) == len(set(found)) == 3 * (8 + 16)
    wanted = {
        Candidate(variant, Settings(2, *switches))
        for variant, switches in product(VARIANTS, product((True, False), repeat=4))
    }
    assert {one for one in found if one.threads == 2} == wanted
    assert all(one.settings.spinning for one in found if one.threads == 1)


@pytest.mark.parametrize(
    ("cores", "wanted"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_threads_are_tried_by_doubling_up_to_all_cores(cores: int, wanted: list[int]) -> None:
    assert thread_counts(cores) == wanted
