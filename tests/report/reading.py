"""Reading a page back, strictly: balanced tags, and what stands in it."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "col", "img"}


class Page(HTMLParser):
    """A parsed page: `tags` and attributes in order, and the visible `text`, no-break spaces as spaces."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.pieces: list[str] = []
        self.feed(markup)
        self.close()
        assert not self.open, f"left open: {self.open}"
        self.text = "".join(self.pieces).replace("\N{NO-BREAK SPACE}", " ")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"attribute twice in {tag}: {names}"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID and tag != "wbr":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open, f"only SVG elements close themselves: {tag}"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"{tag} closed without being open"
        assert self.open[-1] == tag, f"{tag} closed while {self.open[-1]} is open"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.pieces.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element of that name."""
        return [attributes for name, attributes in self.tags if name == tag]
