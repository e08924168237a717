"""A word and its tag in each line, sentences divided by blank lines, as the CoNLL tasks have it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.data.bio import is_tag
from pipeline.data.lines import numbered_lines
from pipeline.data.wording import quoted
from serve.errors import InputError

_DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True)
class Sentence:
    """Words with their tags as they are written, and the line that each stands in."""

    words: list[str]
    tags: list[str]
    lines: list[int]


def read_conll(path: Path) -> list[Sentence]:
    """The sentences of a file: the word is the first column, its tag the last, with tabs or else white space between.

    Lines that begin with `-DOCSTART-` divide like blank ones. A comment (`# …`, before a sentence's first word) is
    passed over. Raises InputError, with file and line, for a line that lacks its word or its tag.
    """
    found: list[Sentence] = []
    sentence = Sentence([], [], [])
    for number, line in numbered_lines(path):
        bare = line.rstrip("\r\n")
        if not bare.strip() or bare.startswith(_DOCUMENT):
            sentence = Sentence([], [], [])
            continue
        columns = bare.split("\t") if "\t" in bare else bare.split()
        if columns[0] == "#" and not sentence.words and not is_tag(columns[-1]):
            continue
        word, tag = columns[0].strip(), columns[-1].strip()
        if len(columns) < 2 or not tag:
            raise InputError(f"{path}:{number}: {quoted(bare, 30)} has no tag; a line holds a word and, last, its tag")
        if not word:
            raise InputError(f"{path}:{number}: the tag {quoted(tag, 30)} has no word before it")
        if not sentence.words:
            found.append(sentence)
        sentence.words.append(word)
        sentence.tags.append(tag)
        sentence.lines.append(number)
    if not found:
        raise InputError(f"{path}: the file is empty; a word and its tag in each line were expected")
    return found
