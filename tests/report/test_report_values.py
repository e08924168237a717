from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report import values
from pipeline.report.markup import el, isolate, text
from pipeline.report.svg import level, smooth, thin, ticks


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (4.2e-7, "4.2×10⁻⁷"),
        (1e-4, "10⁻⁴"),
        (0.005, "0.005"),
        (0.0021, "0.0021"),
        (3.14159, "3.14"),
        (12345, "12,300"),
        (-0.5, "−0.5"),
        (999.6, "1,000"),
        (2.5e9, "2.5×10⁹"),
        (None, "–"),
        (True, "–"),
    ],
)
def test_three_figures_of_anything(value: Any, written: str) -> None:
    assert values.significant(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(12, "12 B"), (999, "999 B"), (22_900_000, "22.9 MB"), (999_999, "1.0 MB"), (131_000_000, "131 MB"), ("x", "–")],
)
def test_sizes_in_decimal_units(value: Any, written: str) -> None:
    assert values.size(value).replace(values.NBSP, " ") == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.42, "0.42 s"), (42, "42 s"), (59.7, "1 min 0 s"), (125, "2 min 5 s"), (3780, "1 h 3 min")],
)
def test_durations(value: float, written: str) -> None:
    assert values.duration(value).replace(values.NBSP, " ") == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("2026-11-24T05:39:59Z", "2026-11-24 05:39 UTC"),
        ("2026-11-24T05:39:59+02:00", "2026-11-24 03:39 UTC"),
        ("2026-11-24T05:39:59", "2026-11-24 05:39"),
        ("yesterday", "yesterday"),
        ("0001-01-01T00:00:00+05:00", "0001-01-01T00:00:00+05:00"),
        (None, ""),
    ],
)
def test_moments_to_the_minute(value: Any, written: str) -> None:
    assert values.moment(value) == written


def test_a_difference_has_its_sign() -> None:
    shown = [values.points(x).replace(values.NBSP, " ") for x in (0.001, -0.0021, 0)]
    assert shown == ["+0.10 pp", "−0.21 pp", "±0.00 pp"]


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.text() | st.none())
def test_every_writer_takes_anything(value: Any) -> None:
    writers = (values.count, values.percent, values.points, values.fixed, values.significant, values.size)
    for write in (*writers, values.milliseconds, values.duration, values.moment):
        assert isinstance(write(value), str)


def test_text_is_escaped_and_markup_is_not_escaped_twice() -> None:
    assert el("p", "<b>", el("i", "&"), title='"') == '<p title="&quot;">&lt;b&gt;<i>&amp;</i></p>'


def test_what_html_cannot_carry_is_replaced() -> None:
    assert text("a\x00\ud800\x1bb\r\nc") == "a\ufffd\ufffd\ufffdb\nc"


def test_long_names_may_break_at_their_joints_only() -> None:
    assert isolate("a.b_c & d.") == "<bdi>a.<wbr>b_<wbr>c &amp; d.</bdi>"


def test_ticks_are_round_and_within() -> None:
    assert ticks(0.0, 1.0) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(3.0, 3.0) == [3.0]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_stay_inside(low: float, span: float) -> None:
    made = ticks(low, low + span)
    assert 1 <= len(made) <= 8
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in made)


def test_the_running_mean_does_not_lag_behind_a_line() -> None:
    line = [(float(i), 3.0 * i) for i in range(50)]
    assert [y for _, y in smooth(line, 5)] == pytest.approx([y for _, y in line])


def test_thinning_keeps_both_ends() -> None:
    many = [(float(i), 0.0) for i in range(5000)]
    few = thin(many, 100)
    assert (len(few), few[0], few[-1]) == (100, many[0], many[-1])


def test_shades_start_at_the_least_asked_for_and_stop_at_the_most() -> None:
    assert [level(x, 1.0) for x in (0, 0.01, 0.5, 1, 7)] == [0, 0, 5, 10, 10]
    assert level(0.01, 1.0, 1) == 1
