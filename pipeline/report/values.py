"""Reading a report that may lack anything, and writing its numbers for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MISSING = "–"
NBSP = "\N{NO-BREAK SPACE}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def at(value: Any, *path: str) -> Any:
    """Follow keys into nested mappings; `None` where the path ends early."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Any]:
    """`value` as a list if it is a list or tuple, else an empty one."""
    return list(value) if isinstance(value, (list, tuple)) else []


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in a list."""
    return [item for item in items(value) if isinstance(item, Mapping)]


def number(value: Any) -> float | None:
    """A finite number as float, else `None` (booleans are not numbers)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def numbers(value: Any) -> list[float]:
    """The finite numbers of a list; others become 0 so that positions stay."""
    return [number(item) or 0.0 for item in items(value)]


def words(value: Any) -> str:
    """A scalar as text, empty when there is none."""
    if value is None or isinstance(value, (Mapping, list, tuple)):
        return ""
    return str(value)


def count(value: Any) -> str:
    """13824 → 13,824."""
    x = number(value)
    return MISSING if x is None else f"{x:,.0f}"


def plural(value: Any, one: str, many: str = "") -> str:
    """1 row, 2 rows."""
    return f"{count(value)} {one if number(value) == 1 else many or one + 's'}"


def percent(value: Any, digits: int = 1) -> str:
    """0.9263 → 92.6%."""
    x = number(value)
    return MISSING if x is None else f"{100 * x:.{digits}f}%"


def points(value: Any) -> str:
    """A difference of two shares: -0.0021 → −0.21 pp."""
    x = number(value)
    if x is None:
        return MISSING
    sign = "+" if x > 0 else "−" if x < 0 else "±"
    return f"{sign}{abs(100 * x):.2f}{NBSP}pp"


def fixed(value: Any, digits: int = 3) -> str:
    """0.92631 → 0.926."""
    x = number(value)
    return MISSING if x is None else f"{x:.{digits}f}".replace("-", "−")


def significant(value: Any, digits: int = 3) -> str:
    """Three figures of anything: 0.0123, 4.2×10⁻⁷, 12,300."""
    x = number(value)
    if x is None:
        return MISSING
    if x == 0:
        return "0"
    exponent = math.floor(math.log10(abs(x)))
    if -4 < exponent < 6:
        rounded = round(x, digits - 1 - exponent)
        return trimmed(f"{rounded:,.{max(0, digits - 1 - exponent)}f}")
    mantissa, power = f"{x:.{digits - 1}e}".split("e")
    factor = trimmed(mantissa)
    exponential = f"10{str(int(power)).translate(_SUPERSCRIPT)}"
    return exponential if factor == "1" else f"{factor}×{exponential}"


def trimmed(written: str) -> str:
    """A written number without idle zeros at its end, with a true minus."""
    short = written.rstrip("0").rstrip(".") if "." in written else written
    return short.replace("-", "−")


def size(value: Any) -> str:
    """Bytes in decimal units: 22900000 → 22.9 MB."""
    x = number(value)
    if x is None:
        return MISSING
    for unit in ("B", "kB", "MB", "GB"):
        if abs(x) < 999.5:
            return f"{x:.0f}{NBSP}{unit}" if unit == "B" or abs(x) >= 99.95 else f"{x:.1f}{NBSP}{unit}"
        x /= 1000
    return f"{x:,.1f}{NBSP}TB"


def milliseconds(value: Any) -> str:
    """3.1416 → 3.14 ms."""
    return MISSING if number(value) is None else f"{significant(value)}{NBSP}ms"


def duration(value: Any) -> str:
    """Seconds: 0.42 s, 42 s, 2 min 5 s, 1 h 3 min."""
    x = number(value)
    if x is None:
        return MISSING
    if x < 59.5:
        return f"{significant(x)}{NBSP}s" if x < 9.95 else f"{x:.0f}{NBSP}s"
    minutes, seconds = divmod(round(x), 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min {seconds}{NBSP}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}{NBSP}h {minutes}{NBSP}min"


def moment(value: Any) -> str:
    """An ISO time to the minute, in UTC: 2026-11-24 05:39 UTC; what is no ISO time stays as it is."""
    written = words(value)
    try:
        when = datetime.fromisoformat(written)
    except ValueError:
        return written
    if when.tzinfo is None:
        return f"{when:%Y-%m-%d %H:%M}"
    try:
        return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except OverflowError:
        return written


def ratio(part: Any, whole: Any) -> str:
    """How many times smaller `part` is than `whole`: 24×."""
    a, b = number(part), number(whole)
    if not a or not b or a <= 0 or b <= 0:
        return MISSING
    times = b / a
    return f"{times:,.0f}×" if times >= 9.95 else f"{times:.1f}×"
