"""How a comparison's numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pipeline.compare.result import Comparison, Numbers
from pipeline.report import names
from pipeline.report.markup import Html, el, join
from pipeline.report.values import MISSING, NBSP, number, significant, size, trimmed

LOWER = frozenset({"loss", "mse", "rmse", "mae"})
LORA = "LoRA r=8"


def sentence(said: str) -> Html:
    """Somebody else's sentence: as `isolate`, but it breaks between words alone, as its points are in numbers too."""
    return el("bdi", said)


def falls(document: Comparison, metric: str) -> bool:
    """Whether lower values of a metric are better."""
    return not document["higher_is_better"] if metric == document["metric"] else metric in LOWER


def better(document: Comparison, metric: str) -> str:
    """Which way is up."""
    return "lower is better" if falls(document, metric) else "higher is better"


def metrics(document: Comparison) -> list[str]:
    """Every metric that a method has, the comparison's own first, the loss last."""
    found = {
        key
        for one in document["methods"]
        for split in (one["validation"], one["test"])
        for key in split or {}
        if key != document["metric"]
    }
    known = [key for key in names.METRICS if key in found]
    return [document["metric"], *known, *sorted(found.difference(known))]


def digits(values: Iterable[float]) -> int:
    """Places after the point that fit a metric: three of an accuracy, fewer of large numbers, more of small."""
    largest = max((abs(value) for value in values), default=1.0)
    if largest <= 0:
        return 3
    power = math.floor(math.log10(largest))
    return min(9, max(0, 3 - max(0, power) if power >= -1 else 2 - power))


def places(document: Comparison, metric: str) -> int:
    """`digits` of all that was measured of a metric."""
    splits = (split for one in document["methods"] for split in (one["validation"], one["test"]) if split)
    found = (number(split[metric]["mean"]) for split in splits if metric in split)
    return digits(value for value in found if value is not None)


def fixed(value: float | None, after: int) -> str:
    """A number with that many places after the point."""
    x = number(value)
    if x is None:
        return MISSING
    return significant(x) if abs(x) >= 1e9 else f"{x:,.{after}f}".replace("-", "−")


def over_seeds(found: Numbers | None, after: int) -> Html | str:
    """A mean with its spread below."""
    if found is None:
        return MISSING
    spread = number(found["spread"])
    return join(
        [fixed(found["mean"], after), el("small", f"±{NBSP}{fixed(spread, after)}") if spread is not None else None]
    )


def in_line(found: Numbers, after: int) -> str:
    """A mean and its spread."""
    spread = number(found["spread"])
    return fixed(found["mean"], after) + (f" ± {fixed(spread, after)}" if spread is not None else "")


def share(value: float | None) -> str:
    """Trained values over LoRA's: 0.0417 → 1/24, 68.46 → 68×."""
    x = number(value)
    if x is None or x < 0:
        return MISSING
    if x == 0:
        return "0"
    if x >= 0.95:
        return f"{x:,.0f}×" if x >= 9.95 or abs(x - round(x)) < 0.05 else f"{x:.1f}×"
    return f"1/{1 / x:,.0f}" if 1 / x >= 9.95 else f"1/{1 / x:.1f}".removesuffix(".0")


def money(value: float, currency: str) -> str:
    """A price: cents, or two figures of less."""
    few = significant(value, 2) if abs(value) < 1e-4 else f"{value:#.2g}"
    written = f"{value:,.2f}" if value >= 0.0995 or value == 0 else few
    return f"{written}{NBSP}{currency}" if currency else written


def memory(value: float | None) -> str:
    """Bytes in three figures, as methods are close: 1310000000 → 1.31 GB."""
    x = number(value)
    if x is None or x < 999.5e3:
        return size(value)
    unit, name = next(each for each in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if x >= 0.9995 * each[0])
    return f"{significant(x / unit)}{NBSP}{name}"


def rate(value: float) -> str:
    """A learning rate, as configurations have it: 0.03, 3.2e-5."""
    if value >= 1e-3:
        return significant(value)
    mantissa, power = f"{value:.3g}".split("e") if value < 1e-4 else f"{value:.2e}".split("e")
    return f"{trimmed(mantissa)}e{int(power)}"
