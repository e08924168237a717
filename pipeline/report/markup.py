"""HTML strings that cannot forget to escape: only `Html` passes through as markup."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from html import escape

_VOID = frozenset({"meta", "br", "hr", "col", "img"})
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_JOINT = re.compile(r"(?<=\w[._/])(?=\w)")


class Html(str):
    """A piece of finished markup; every other string is text and gets escaped."""

    __slots__ = ()


def text(value: object) -> Html:
    """Escape `value` for use as text or attribute; what HTML cannot carry becomes U+FFFD."""
    normal = str(value).replace("\r\n", "\n").replace("\r", "\n")
    return Html(escape(_UNPRINTABLE.sub("\ufffd", normal), quote=True))


def join(parts: Iterable[Html | str | None], between: str = "") -> Html:
    """Concatenate parts, escaping plain strings and leaving out `None`."""
    pieces = (part if isinstance(part, Html) else text(part) for part in parts if part is not None)
    return Html(text(between).join(pieces))


def el(tag: str, *children: Html | str | None, **attributes: object) -> Html:
    """One element. `cls` is `class`, underscores in names become hyphens, `None` leaves an attribute out."""
    pairs: list[str] = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        name = "class" if key == "cls" else key.rstrip("_").replace("_", "-")
        pairs.append(f" {name}" if value is True else f' {name}="{text(value)}"')
    opening = f"<{tag}{''.join(pairs)}>"
    return Html(opening) if tag in _VOID else Html(f"{opening}{join(children)}</{tag}>")


def isolate(value: object) -> Html:
    """Somebody else's words: their writing direction stays theirs, long names may break at their joints."""
    return el("bdi", Html(_JOINT.sub("<wbr>", text(value))))


def table(
    caption: str,
    head: Iterable[Html | str],
    rows: Iterable[Iterable[Html | str]],
    *,
    cls: str | None = None,
    row_heads: bool = True,
    texts: Container[int] = (),
) -> Html:
    """A captioned table in a frame that scrolls sideways by itself.

    The first cell of a row is its header unless `row_heads` is off; columns in `texts` hold words, not numbers.
    """

    def cell(tag: str, i: int, value: Html | str, scope: str | None = None) -> Html:
        return el(tag, value, scope=scope, cls="words" if i in texts else None)

    body: list[Html] = []
    for row in rows:
        cells = list(row)
        first = cell("th", 0, cells[0], "row") if row_heads else cell("td", 0, cells[0])
        body.append(el("tr", first, *(cell("td", i, each) for i, each in enumerate(cells[1:], start=1))))
    head_row = el("tr", *(cell("th", i, each, "col") for i, each in enumerate(head)))
    inner = el("table", el("caption", caption), el("thead", head_row), el("tbody", *body), cls=cls)
    return scroller(caption, inner)


def scroller(label: str, inner: Html) -> Html:
    """A frame that scrolls sideways on small screens and can be reached from the keyboard."""
    return el("div", inner, cls="scroll", tabindex="0", role="region", aria_label=label)


def facts(pairs: Iterable[tuple[str, Html | str | None]]) -> Html | None:
    """A definition list; pairs without a value are left out, an empty list is `None`."""
    rows = [el("div", el("dt", name), el("dd", value)) for name, value in pairs if value]
    return el("dl", *rows, cls="facts") if rows else None
