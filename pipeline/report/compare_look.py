"""How each method looks throughout a comparison's page: a colour, a shape, and a dash where colours repeat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.compare.result import Comparison, MethodResult
from pipeline.report.markup import Html, el, isolate
from pipeline.report.svg import shape

# Searched for the largest least distance in OKLab, as seen with full colour vision, protanopia, deuteranopia and
# tritanopia, with a contrast of 3 or more to the page.
_LIGHT = ("#2f42b8", "#c84200", "#0e8559", "#8f5ba4", "#209ad7", "#bd8914", "#3b4045", "#841500")
_DARK = ("#1196ef", "#e79247", "#1c895c", "#ab65aa", "#35cbe9", "#fccf16", "#d4e2f3", "#d04b1f")
COLOURS = len(_LIGHT)
SHAPES = ("circle", "square", "diamond", "up", "down", "pentagon", "star")

_RULES = """
.mark{fill:var(--m);stroke:var(--bg);stroke-width:1}
.hue{fill:none;stroke:var(--m);stroke-width:1.9;stroke-linejoin:round;stroke-linecap:round}
.again{stroke-dasharray:5 3}
.whisker{fill:none;stroke:var(--m);stroke-width:1.7}
.lead-line{fill:none;stroke:var(--m);stroke-width:1;stroke-dasharray:1.5 2.5;opacity:.75}
.ring{fill:none;stroke:var(--ink);stroke-width:1.6}
.hue-bar{fill:var(--m)}
.cross{fill:none;stroke:var(--bad);stroke-width:2;stroke-linecap:round}
.plot .bold{font-weight:650;fill:var(--ink)}
.halo{paint-order:stroke;stroke:var(--bg);stroke-width:3px;stroke-linejoin:round}
.cut{stroke:var(--grey);stroke-width:1;stroke-dasharray:2 4}
.dot-key{width:.85rem;height:.85rem;vertical-align:-.08rem;margin-right:.4rem;flex:none}
.pair{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:1.2rem 2rem}
.pair figure{margin:0;min-width:0}
.chosen{background:var(--raised);border-left:.3rem solid var(--ok);border-radius:.6rem;
  padding:1.1rem 1.4rem;margin-top:.6rem}
.chosen.none{border-color:var(--bad)}
.chosen h2{margin:0 0 .5rem}.chosen p{max-width:46rem}.chosen .said{font-size:1.08rem}
.chosen h3{margin:1.1rem 0 .2rem}.chosen ul{margin:.2rem 0 0;padding-left:1.15rem;max-width:48rem}
.chosen li{margin:.25rem 0}
.chips{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;list-style:none;padding:0;margin:.4rem 0 0}
.chosen .chips{padding:0}.chips li{margin:0;min-width:0}
.methods{width:100%}.methods th,.methods td{padding-inline:.5rem}
.methods tbody th{white-space:normal;min-width:8.2rem;max-width:15rem}
.methods thead th{white-space:normal}
.methods .won>*{background:var(--okbg)}.methods .won th{box-shadow:inset .2rem 0 0 var(--ok)}
.methods tbody th:first-child,.methods thead th:first-child,.methods thead td:first-child{padding-left:.6rem}
.methods td.failed{text-align:left;white-space:normal;color:var(--bad);overflow-wrap:anywhere}
.failed span{display:block;max-width:min(44rem,58vw)}
.methods .badge{white-space:nowrap}.methods .won .badge{background:var(--bg)}
.groups thead tr:first-child>*{border-bottom:0;padding-bottom:0;text-align:center}
.tries{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,10rem),1fr));gap:1.3rem 1rem}
.try h4{display:flex;align-items:center;overflow-wrap:anywhere;min-width:0}.try{min-width:0}.try h4 bdi{min-width:0}
.try small{display:block;line-height:1.4;overflow-wrap:anywhere}.try .warn{color:var(--warn)}.try .bad{color:var(--bad)}
ul.notes{margin:.4rem 0;padding-left:1.15rem;font-size:.92rem;max-width:50rem}.notes .bad{font-weight:600}
.told{max-width:46rem}.tile .big small{font-size:.95rem;font-weight:500;letter-spacing:0;white-space:nowrap}
section>div>details:last-child{border-bottom:0}.methods thead th{line-height:1.3}
.notes li{overflow-wrap:anywhere}
@media (max-width:56rem){.pair{grid-template-columns:minmax(0,1fr)}.pair figure{max-width:40rem}}
@media (max-width:34rem){.chosen{padding:.9rem 1rem}
.methods tbody th{min-width:6.6rem;max-width:9rem}}
@media print{.pair{grid-template-columns:repeat(2,minmax(0,1fr))}.chosen,.try{break-inside:avoid}}
"""


@dataclass(frozen=True)
class Look:
    """The `index`-th look; the first 56 differ in colour or shape."""

    index: int

    @property
    def cls(self) -> str:
        """The class that sets the colour."""
        return f"m{self.index % COLOURS}"

    @property
    def line(self) -> str:
        """The classes of a line."""
        return f"hue {self.cls}{' again' if self.index >= COLOURS else ''}"


@dataclass(frozen=True)
class Entry:
    """A method with its look, and whether it is the recommended one."""

    result: MethodResult
    look: Look
    chosen: bool

    @property
    def title(self) -> str:
        return self.result["title"]

    @property
    def done(self) -> bool:
        return self.result["status"] == "done"


def entries(document: Comparison) -> list[Entry]:
    """The methods in their order, each with a look of its own."""
    chosen = document["recommendation"]["method"]
    return [Entry(one, Look(i), one["method"] == chosen) for i, one in enumerate(document["methods"])]


def marker(look: Look, x: float, y: float, r: float = 5.0) -> Html:
    """The look's shape around a point."""
    form = SHAPES[look.index % len(SHAPES)]
    cls = f"mark {look.cls}"
    if form == "circle":
        return shape("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=r, cls=cls)
    return shape("path", d=_outline(_corners(form), x, y, r), cls=cls)


def key(look: Look) -> Html:
    """The look's shape inside a line of text."""
    return el("svg", marker(look, 7, 7), viewBox="0 0 14 14", cls="dot-key", aria_hidden="true")


def named(entry: Entry) -> Html:
    """A method's shape and title."""
    return el("span", key(entry.look), isolate(entry.title))


def sheet() -> str:
    """The rules for methods' looks and for what only this page has."""
    light = ";".join(f"--m{i}:{colour}" for i, colour in enumerate(_LIGHT))
    dark = ";".join(f"--m{i}:{colour}" for i, colour in enumerate(_DARK))
    uses = "\n".join(f".m{i}{{--m:var(--m{i})}}" for i in range(COLOURS))
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{uses}{_RULES}"


def _corners(form: str) -> Sequence[tuple[float, float]]:
    """(turn in degrees, part of the radius) of each corner, from the top."""
    if form == "star":
        return [(36 * i, 1.3 if i % 2 == 0 else 0.58) for i in range(10)]
    first, count, size = {
        "square": (45, 4, 1.25),
        "diamond": (0, 4, 1.3),
        "up": (0, 3, 1.3),
        "down": (180, 3, 1.3),
        "pentagon": (0, 5, 1.15),
    }[form]
    return [(first + 360 * i / count, size) for i in range(count)]


def _outline(corners: Sequence[tuple[float, float]], x: float, y: float, r: float) -> str:
    turned = ((math.radians(turn), r * part) for turn, part in corners)
    return "M" + "L".join(f"{x + far * math.sin(a):.1f} {y - far * math.cos(a):.1f}" for a, far in turned) + "z"
