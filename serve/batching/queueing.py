"""Which of the waiting rows form the next batch. No threads and no clock in here: the caller says what time it is."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Generic, TypeVar

from serve.errors import UsageError
from serve.pieces import Output, Piece, length

# With MiniLM on 2 cores and 16 or 64 short texts under way, 8 instead of 4 tokens cost 6 to 10 % of the rows a second;
# with 4 or 256 it made no difference.
SLACK_TOKENS = 4  # short rows may differ by this much in one batch ...
SLACK_PART = 8  # ... and long ones by an eighth of the longest
LONG = 4  # a row this many times as long as the shortest that waits is long beside it


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """A batch has at most `max_rows` rows and `max_tokens` tokens, padding counted; `max_delay` is in seconds."""

    max_rows: int = 32
    max_tokens: int = 4096
    max_delay: float = 0.02

    def __post_init__(self) -> None:
        """Raises UsageError that names the limit which makes no sense."""
        for name in ("max_rows", "max_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1 (got {getattr(self, name)})")
        if not 0 <= self.max_delay < math.inf:
            raise UsageError(f"max_delay must be 0 or more seconds (got {self.max_delay})")


@dataclass(slots=True, eq=False)
class Waiting:
    """One row in the queue: its length in tokens, and its times on the caller's clock in seconds."""

    length: int
    arrived: float
    deadline: float = math.inf
    number: int = -1
    """The queue's own: rows are numbered as they arrive."""


RowT = TypeVar("RowT", bound=Waiting)


def alike(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Places of rows in batches of at most `most`, the shortest first, whose lengths differ by no more than `slack`."""
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        last = batches[-1] if batches else []
        if last and len(last) < most and lengths[place] - lengths[last[0]] <= slack(lengths[place]):
            last.append(place)
        else:
            batches.append([place])
    return batches


def in_batches(
    run: Callable[[Sequence[int]], Sequence[Output]], pieces: Sequence[Piece], batch_size: int
) -> list[Output]:
    """What `run` gives for the places of each batch of pieces `alike` in length, in the order of the pieces.

    Raises UsageError for batch_size < 1.
    """
    if batch_size < 1:
        raise UsageError(f"batch size must be at least 1 (got {batch_size})")
    found: dict[int, Output] = {}
    for places in alike([length(piece) for piece in pieces], batch_size):
        found.update(zip(places, run(places), strict=True))
    return [found[place] for place in range(len(pieces))]


def slack(longest: int) -> int:
    """Tokens that the shortest row of a batch may lack to its longest; so a row's padding is bounded."""
    return max(SLACK_TOKENS, longest // SLACK_PART)


class RowQueue(Generic[RowT]):
    """Rows in order of arrival, and by length.

    A batch is led by the shortest row, or by the oldest once that has waited `max_delay`, and holds rows of
    lengths like its own, the nearest first; of equal lengths the earlier goes first. While a batch with
    rows as long runs elsewhere, an old long row does not lead if rows a quarter its length wait: so long rows
    never take every worker from short ones, and one worker is always theirs.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self.limits = limits
        self._arrivals: OrderedDict[int, RowT] = OrderedDict()
        self._groups: dict[int, OrderedDict[int, RowT]] = {}
        self._lengths: list[int] = []  # the groups' keys, in order
        self._deadlines: list[tuple[float, int]] = []  # a heap, with numbers; rows that left are skipped later
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._arrivals)

    def add(self, row: RowT) -> None:
        """Put a row last. Its length must be within `max_tokens`, and it must not have arrived before those here."""
        row.number = next(self._numbers)
        self._arrivals[row.number] = row
        group = self._groups.get(row.length)
        if group is None:
            group = self._groups[row.length] = OrderedDict()
            insort(self._lengths, row.length)
        group[row.number] = row
        if row.deadline < math.inf:
            if len(self._deadlines) > 2 * len(self._arrivals) + 64:
                self._deadlines = [entry for entry in self._deadlines if entry[1] in self._arrivals]
                heapq.heapify(self._deadlines)
            heapq.heappush(self._deadlines, (row.deadline, row.number))

    def remove(self, row: RowT) -> bool:
        """Take a row out; False if it isn't here (any more)."""
        if self._arrivals.pop(row.number, None) is None:
            return False
        group = self._groups[row.length]
        del group[row.number]
        if not group:
            del self._groups[row.length]
            del self._lengths[bisect_left(self._lengths, row.length)]
        return True

    def clear(self) -> list[RowT]:
        """Take everything out, in order of arrival."""
        rows = list(self._arrivals.values())
        for row in rows:
            self.remove(row)
        return rows

    def expired(self, now: float) -> list[RowT]:
        """Take out the rows whose deadline has come."""
        late = []
        while self._deadlines and self._deadlines[0][0] <= now:
            row = self._arrivals.get(heapq.heappop(self._deadlines)[1])
            if row is not None:
                self.remove(row)
                late.append(row)
        return late

    def take(self, now: float, running: Sequence[int] = (), free: int = 1) -> list[RowT]:
        """Take out the next batch, [] if nothing waits.

        `running` holds the longest length of each batch that other workers are running. `free` workers, the caller
        among them, share what waits: a batch has no more than its part, as a CPU gains little from larger ones.
        """
        if not self._arrivals:
            return []
        oldest = next(iter(self._arrivals.values()))
        lead = self._lengths[0]
        if now - oldest.arrived >= self.limits.max_delay:
            long = oldest.length > LONG * lead and any(2 * length >= oldest.length for length in running)
            lead = lead if long else oldest.length
        rows = self._like(lead, min(self.limits.max_rows, -(-len(self) // free)))
        for row in rows:
            self.remove(row)
        return rows

    def _like(self, lead: int, most: int) -> list[RowT]:
        """The first row of length `lead`, and others up to `most` rows within the limits, the most alike first."""
        rows: list[RowT] = []
        lowest = longest = lead
        start = bisect_left(self._lengths, lead - slack(lead))
        stop = bisect_right(self._lengths, lead + max(slack(lead), lead // (SLACK_PART - 1) + 1))
        for tokens in sorted(self._lengths[start:stop], key=lambda tokens: (abs(tokens - lead), tokens)):
            low, high = min(lowest, tokens), max(longest, tokens)
            room = min(most, self.limits.max_tokens // max(high, 1)) - len(rows)
            if room < 1 or high - low > slack(high):
                continue
            rows.extend(islice(self._groups[tokens].values(), room))
            lowest, longest = low, high
        return rows
