from __future__ import annotations

import base64
import hashlib
import itertools
import re
from typing import Any

import pytest
from compare_sample import comparison, failed, finished
from hypothesis import given
from hypothesis import strategies as st
from reading import Page

from pipeline.compare.result import Comparison, MethodResult
from pipeline.report.compare_axes import Axis, apart, around, breadth, fit, writer
from pipeline.report.compare_curves import running
from pipeline.report.compare_look import COLOURS, SHAPES, entries, marker
from pipeline.report.compare_page import SECTIONS, render
from pipeline.report.compare_words import digits, memory, money, rate, share

ODD = [
    "<script>alert(1)</script>",
    "\"quoted\" & 'single'",
    "מעלית",
    "</td><svg onload=x>",
    "a\u202eb",
    "a" * 300,
    "\x00",
]


@pytest.fixture(scope="module")
def full() -> Page:
    return Page(render(comparison()))


def many() -> Comparison:
    """Ten methods, two of them with the same trained values, one far behind, one failed."""
    document = comparison()
    made = [
        finished("svfit", "SVFit", 0.03, 13_824, 0.71, 0.31, 1_400_000_000),
        finished("svfit:64", "SVFit r=64", 0.03, 2_304, 0.66, 0.27, 1_350_000_000),
        finished("banded:1", "banded k=1", 0.01, 41_400, 0.724, 0.36, 1_500_000_000),
        finished("dense", "dense r=48", 0.003, 82_944, 0.731, 0.33, 1_500_000_000),
        finished("lora", "LoRA r=8", 1e-3, 331_776, 0.727, 0.34, 1_600_000_000),
        finished("pissa", "PiSSA r=8", 3e-4, 331_776, 0.729, 0.35, 1_600_000_000),
        finished("lora:1", "LoRA r=1", 1e-3, 41_472, 0.702, 0.33, 1_550_000_000),
        finished("full", "full", 1e-4, 10_616_832, 0.748, 0.61, 2_400_000_000),
        finished("head", "head only", 0.01, 0, 0.352, 0.09, 900_000_000),
    ]
    document["methods"] = [*made, failed()]
    return document


def without_test(document: Comparison) -> Comparison:
    for one in document["methods"]:
        one["test"] = None
    return document


def regression() -> Comparison:
    """One seed, no test rows, and a metric that falls."""
    document = without_test(comparison(1))
    document["metric"], document["higher_is_better"], document["task"] = "mse", False, "text-regression"
    document["data"] = {"rows": {"train": 900, "validation": 100}, "labels": []}
    for one in document["methods"]:
        if one["validation"]:
            mean = 1234 * (1 - one["validation"]["accuracy"]["mean"])
            one["validation"] = {"mse": {"mean": mean, "spread": None, "values": [mean]}}
        for row in one["epochs"]:
            row["mse"] = 1234 * (1 - row["accuracy"])
    return document


def rows_of(markup: str, caption: str) -> dict[str, list[str]]:
    """The cells of a table's body by row header, as text."""
    table = markup.split(f"<caption>{caption}</caption>")[1].split("</table>")[0].split("<tbody>")[1]
    found = {}
    for row in table.split("<tr")[1:]:
        cells = [re.sub("<[^>]+>", " ", cell) for cell in re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row)]
        words = [" ".join(cell.split()) for cell in cells]
        found[words[0]] = words[1:]
    return found


def test_a_full_comparison_shows_every_section_in_order(full: Page) -> None:
    assert [section["id"] for section in full.all("section")] == [key for key, _, _ in SECTIONS]


def test_the_recommendation_stands_first_with_all_its_reasons(full: Page) -> None:
    said = comparison()["recommendation"]
    assert full.text.index("Recommended: SVFit") < full.text.index("Score for trained values")
    assert all(words in full.text for words in (said["text"], *said["reasons"]))


@pytest.mark.parametrize(
    "shown",
    [
        "tickets",
        "1/24 of LoRA r=8's",
        "0.13% of these layers' weights",
        "costs 0.017 EUR",
        "1.31 GB",
        "174 kB learned, head included",
        "1.20 EUR an hour",
        "The head, 29,645 values, is trained by every method",
        "LoRA r=8 trains 331,776 values on the same layers",
        "standard deviation over 3 seeds",
        "head only: the best rate, 0.032, is the highest of those tried",
        "best at the edge of the rates",
        "3 of 3 rates failed",
        "✕ failed: all 3 rates failed: training diverged at step 12",
        "Not in the pictures, as nothing was measured: dense r=64",
        "Train rows2,560",
        "They chose nothing.",
        "AMD EPYC 7B13",
        "ab12ab12",
        "hvac, electrical, plumbing",
        "Written by svfit 0.1.0",
    ],
)
def test_what_a_reader_looks_for_is_there(full: Page, shown: str) -> None:
    assert shown in full.text


def test_the_table_of_methods_has_costs_and_scores_and_marks_the_recommended_one() -> None:
    markup = render(comparison())
    rows = rows_of(markup, "What each method costs and reaches")
    svfit, full = rows["SVFit recommended svfit rate 0.03"], rows["full rate 1e-4"]
    assert svfit[:2] == ["13,824", "1/24"]
    assert full[:2] == ["22,713,216", "68×"]
    assert re.fullmatch(r"0\.9\d\d ± 0\.00\d", svfit[2]), svfit
    assert svfit[4:] == ["0.21 s", "50 s + 1.9 s before", "4 min 42 s", "1.31 GB", "174 kB", "0.017 EUR 0.094 EUR"]
    assert markup.count('class="badge"') == 1


def test_every_metric_is_shown_for_both_splits() -> None:
    markup = render(comparison())
    assert [len(cells) for cells in rows_of(markup, "Every metric, mean ± spread").values()] == [8] * 4
    assert markup.count("lower is better") == 1  # the loss


def test_without_a_price_there_is_no_cost() -> None:
    document = comparison()
    document["price"] = None
    for one in document["methods"]:
        one["cost"] = None
    assert "Cost" not in Page(render(document)).text


def test_one_seed_shows_no_spread_and_says_so() -> None:
    text = Page(render(comparison(1))).text
    assert re.search(r"± \d", text.replace(comparison()["recommendation"]["text"], "").split("Methods")[-1]) is None
    assert "no ± is shown" in text
    assert "One seed: no spread is known." in text


def test_without_test_rows_nothing_speaks_of_their_scores() -> None:
    markup = render(without_test(comparison()))
    text = Page(markup).text
    assert "On test rows" not in text
    assert "There were no test rows" in text
    assert len(rows_of(markup, "Every metric, mean ± spread")["head only"]) == 4


def test_a_metric_that_falls_says_that_lower_is_better() -> None:
    text = Page(render(regression())).text
    assert "Mean squared error: lower is better" in text
    assert "higher is better" not in text
    assert "Off the scale, beyond the dashed line, with an arrow and the mean: head only" in text


def test_a_method_far_behind_does_not_flatten_the_others() -> None:
    markup = render(many())
    assert "Off the scale, beyond the dashed line, with an arrow and the mean: head only." in markup
    assert re.search(r">head only 0\.35\d</text>", markup)
    document = comparison()
    document["methods"] = [one for one in document["methods"] if one["method"] != "head"]
    assert "Off the scale" not in render(document)


def test_where_every_method_failed_nothing_is_recommended() -> None:
    document = comparison()
    document["methods"] = [failed()]
    document["recommendation"] |= {"method": None, "text": "No method can be recommended.", "equals": []}
    page = Page(render(document))
    assert "No recommendation" in page.text
    assert "tiles" not in [each.get("class") for each in page.all("dl")]
    assert [section["id"] for section in page.all("section")] == ["methods", "rates", "how"]


def test_methods_that_train_the_head_alone_can_be_all_there_is() -> None:
    document = comparison()
    document["methods"] = [one for one in document["methods"] if one["method"] == "head"]
    assert "0.869" in Page(render(document)).text


@pytest.mark.parametrize("odd", ODD)
def test_odd_words_are_text_wherever_they_stand(odd: str) -> None:
    document = many()
    document["name"] = document["base"]["name"] = document["machine"]["cpu"] = odd
    document["data"]["labels"] = [odd]
    document["price"] = {"per_hour": 1.0, "currency": odd}
    document["config"] = {odd: odd}
    document["recommendation"] |= {"text": odd, "reasons": [odd], "method": odd, "equals": [odd]}
    for one in document["methods"]:
        one["title"] = one["method"] = odd
        one["notes"] = [odd]
        one["reason"] = one["reason"] and odd
        for tried in one["rates"]:
            tried["reason"] = tried["reason"] and odd
    page = Page(render(document))
    assert {tag for tag, _ in page.tags} <= {"wbr"} | {tag for tag, _ in Page(render(comparison())).tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_the_page_loads_nothing_and_allows_only_its_own_style() -> None:
    markup = render(comparison())
    page = Page(markup)
    sheet = re.search("<style>(.*?)</style>", markup, re.DOTALL)
    assert sheet is not None
    digest = base64.b64encode(hashlib.sha256(sheet[1].encode()).digest()).decode()
    policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]
    assert not [a for _, a in page.tags if "src" in a or "style" in a or not a.get("href", "#").startswith("#")]
    assert "url(" not in sheet[1]
    assert "prefers-color-scheme:dark" in sheet[1]


def test_pictures_are_told_and_tables_have_scoped_headers() -> None:
    markup = render(many())
    page = Page(markup)
    spoken = [svg for svg in page.all("svg") if "aria-hidden" not in svg]
    assert spoken
    assert all(svg.get("role") == "img" for svg in spoken)
    assert len(re.findall("<svg[^>]*role=.img.[^>]*><title>[^<]+</title><desc>[^<]+</desc>", markup)) == len(spoken)
    assert all(th.get("scope") in ("col", "row", "colgroup") for th in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))


def test_a_method_keeps_its_colour_in_every_picture() -> None:
    markup = render(many())
    for key in ("answer", "progress", "loss", "rates", "effort"):
        part = markup.split(f'id="{key}"')[1].split("</section>")[0]
        colours = {int(found) for found in re.findall(r' m(\d)["\s]', part)}
        assert colours == set(range(8)), key  # nine methods and a failed one over eight colours


def test_looks_differ_even_where_colours_repeat() -> None:
    looks = entries(many() | {"methods": many()["methods"] * 3})  # type: ignore[arg-type]
    drawn = [marker(entry.look, 0, 0) for entry in looks]
    assert len(set(drawn)) == len(drawn) == 30
    assert len({(i % COLOURS, i % len(SHAPES)) for i in range(COLOURS * len(SHAPES))}) == COLOURS * len(SHAPES)


def test_numbers_that_are_missing_leave_no_trace() -> None:
    document = comparison()
    nan = float("nan")
    svfit: MethodResult = document["methods"][0]
    assert svfit["validation"]
    svfit["validation"]["loss"] = {"mean": nan, "spread": nan, "values": [nan] * 3}
    svfit["curve"][3]["loss"] = nan
    svfit["epochs"][0]["accuracy"] = nan
    svfit["rates"][0]["validation"] = nan
    svfit["peak_memory_bytes"] = svfit["bytes"] = svfit["prepare_seconds"] = svfit["seconds_per_step"] = None
    svfit["test"] = None
    assert re.search(r"\b(nan|inf|None)\b", Page(render(document)).text) is None


def test_a_running_mean_follows_the_start_and_settles_at_the_end() -> None:
    assert running([(float(i), 10.0 if i == 0 else 1.0) for i in range(30)], 3)[0] == (0.0, 10.0)
    assert running([(float(i), 9.0 if i == 29 else 1.0) for i in range(30)], 3)[-1] == (29.0, 3.0)


def test_the_head_alone_recommended_says_what_it_trains() -> None:
    document = comparison()
    document["recommendation"]["method"] = "head"
    assert "but the head's 29,645" in Page(render(document)).text


def test_numbers_in_sentences_do_not_break_at_their_point() -> None:
    document = comparison()
    document["recommendation"]["text"] = "Use svfit: 0.762 it is."
    assert "0.762 it is" in render(document)


def test_a_seed_that_failed_is_counted() -> None:
    document = comparison()
    document["methods"][0]["seeds"] = [0, 2]
    assert "2 of 3 seeds" in Page(render(document)).text


def test_the_same_document_gives_the_same_page() -> None:
    assert render(comparison()) == render(comparison())


def test_labels_at_lines_ends_keep_apart() -> None:
    part = render(many()).split('id="progress"')[1].split("</section>")[0]
    for svg in part.split("<svg")[1:]:
        ys = sorted(float(y) for y in re.findall(r'y="([\d.]+)" class="name', svg))
        assert len(ys) == 9
        assert all(b - a > 14 for a, b in itertools.pairwise(ys))


def test_labels_in_the_scatter_do_not_cover_each_other() -> None:
    part = render(many()).split('id="answer"')[1].split("</section>")[0]
    for svg in part.split("<svg")[1:]:
        found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="name[^>]*>([^<]+)<', svg)
        assert len(found) == 9
        for (x1, y1, a), (x2, y2, b) in itertools.combinations(found, 2):
            level = abs(float(y1) - float(y2)) < 12
            left, right = sorted([(float(x1), a), (float(x2), b)])
            assert not level or left[0] + 0.95 * breadth(left[1]) <= right[0], (a, b)


@given(st.lists(st.floats(0, 300), min_size=1, max_size=12))
def test_positions_keep_their_order_and_distance(wanted: list[float]) -> None:
    placed = apart(wanted, 14, 0, 300)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    assert all(placed[b] - placed[a] >= 14 - 1e-9 for a, b in itertools.pairwise(order))
    assert min(placed) >= -1e-9
    assert max(placed) <= 300 + 1e-9


def test_boxes_around_close_points_do_not_overlap() -> None:
    points = [(100.0 + 6 * i, 100.0) for i in range(6)]
    boxes = around(points, [(60.0, 14.0)] * 6, [], (0, 0, 400, 300))
    for a, b in itertools.combinations(boxes, 2):
        assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])


@given(st.text(max_size=60), st.floats(30, 200))
def test_a_shortened_name_fits(words: str, room: float) -> None:
    assert breadth(fit(words, room)) <= room


@pytest.mark.parametrize(("low", "high"), [(0.9, 0.93), (1e-6, 1e9), (3e4, 9e4), (5.0, 5.001)])
def test_logarithmic_ticks_lie_on_the_axis_and_can_be_told_apart(low: float, high: float) -> None:
    axis = Axis(low, high, 0, 100, log=True)
    found = axis.ticks()
    assert 2 <= len(found) <= 16
    assert all(-1e-6 <= axis.at(value) <= 100 + 1e-6 for value in found)
    assert len({writer(found)(value) for value in found}) == len(found)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (share(0), "0"),
        (share(13_824 / 331_776), "1/24"),
        (share(0.4), "1/2.5"),
        (share(0.5), "1/2"),
        (share(1.0), "1×"),
        (share(68.46), "68×"),
        (share(None), "–"),
        (money(0.017, "EUR"), "0.017 EUR"),
        (money(0.02, ""), "0.020"),
        (money(1234.5, "$"), "1,234.50 $"),
        (rate(0.0316), "0.0316"),
        (rate(1e-4), "1e-4"),
        (rate(3.2e-5), "3.2e-5"),
        (rate(9.5e-4), "9.5e-4"),
        (memory(1_310_000_000), "1.31 GB"),
        (memory(999_700_000), "1 GB"),
        (memory(None), "–"),
    ],
)
def test_numbers_are_written_for_people(written: str, wanted: str) -> None:
    assert written.replace("\N{NO-BREAK SPACE}", " ") == wanted


@pytest.mark.parametrize(
    ("values", "after"), [([0.92], 3), ([1.2], 3), ([96.7], 2), ([1234.0], 0), ([0.0123], 4), ([0.0], 3)]
)
def test_digits_follow_the_size_of_a_metric(values: list[Any], after: int) -> None:
    assert digits(values) == after
