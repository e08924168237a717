"""Which method to use: of those that can't be told from the best, the one that trains the fewest values."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.stats import t as student

from pipeline.compare.result import MethodResult, Numbers, Recommendation

SURE = 0.95
"""How sure it has to be that two methods differ before they count as different."""


def recommend(
    methods: Sequence[MethodResult], metric: str, *, higher_is_better: bool, rows: int, tested: bool
) -> Recommendation:
    """By the means on validation, `rows` many. `tested` says whether there are test rows, which choose nothing."""
    done = [(one, one["validation"][metric]) for one in methods if one["status"] == "done" and one["validation"]]
    reasons = [f"{one['method']} failed: {one['reason']}" for one in methods if one["status"] == "failed"]
    if not done:
        text = "No method can be recommended: every one failed."
        return {"method": None, "text": text, "reasons": reasons, "equals": [], "judged_by": "validation"}
    sign = 1 if higher_is_better else -1
    done.sort(key=lambda pair: -sign * pair[1]["mean"])
    best, reached = done[0]
    equal = [pair for pair in done if pair[0] is best or not differ(reached, pair[1])]
    chosen, own = min(equal, key=lambda pair: (_values(pair[0]), pair[0]["seconds"] or 0.0))
    names = [one["method"] for one, _ in equal]
    several = all(len(numbers["values"]) > 1 for _, numbers in done)
    said = metric.replace("_", "-")
    text = f"Use {chosen['method']}: validation {said} {shown(own)}"
    if len(done) == 1:
        text += "; nothing else went through to compare it with."
    elif chosen is best and len(equal) == 1:
        text += f", {'clearly ' if several else ''}better than {_and([one['method'] for one, _ in done[1:]])}."
    elif chosen is best:
        others = _and([name for name in names if name != chosen["method"]])
        text += f", the best mean, not to be told from {others}, {_fewest(chosen, equal)}."
    else:
        text += f", not to be told from the best, {best['method']} ({shown(reached)}), {_fewest(chosen, equal)}."
    reasons = [*_compared(done, equal), *reasons, *_unknown(done, several, metric, rows)]
    reasons.append(
        "Chosen by the validation rows, which also chose epochs and rates. The test rows chose nothing: their scores "
        "are the ones to expect."
        if tested
        else "Chosen by the validation rows, which also chose epochs and rates: on new rows, expect a little less. "
        "There are no test rows (data.test)."
    )
    return {
        "method": chosen["method"],
        "text": text,
        "reasons": reasons,
        "equals": names if len(names) > 1 else [],
        "judged_by": "validation",
    }


def differ(one: Numbers, other: Numbers) -> bool:
    """Whether two means differ by more than their seeds explain: Student's test with the pooled standard error.

    Where both have one seed nothing is known of chance, and any difference counts as one.
    """
    return abs(one["mean"] - other["mean"]) > least_seen(one, other)


def least_seen(one: Numbers, other: Numbers) -> float:
    """The difference of two means beyond which `differ` sees one; 0 where both have one seed."""
    n, m = len(one["values"]), len(other["values"])
    freedom = n + m - 2
    if not freedom:
        return 0.0
    squares = sum((count - 1) * (found["spread"] or 0.0) ** 2 for count, found in ((n, one), (m, other)))
    return float(student.ppf((1 + SURE) / 2, freedom)) * math.sqrt(squares / freedom * (1 / n + 1 / m))


def shown(numbers: Numbers) -> str:
    """`0.921 ± 0.003`; the mean alone for one seed."""
    spread = "" if numbers["spread"] is None else f" ± {numbers['spread']:.3f}"
    return f"{numbers['mean']:.3f}{spread}"


def _values(one: MethodResult) -> int:
    return one["trained"]["adapter"] if one["trained"] else 0


def _fewest(chosen: MethodResult, equal: Sequence[tuple[MethodResult, Numbers]]) -> str:
    """Why it was chosen of several that are equal."""
    next_one = min((one for one, _ in equal if one is not chosen), key=_values)
    own, other = _values(chosen), _values(next_one)
    if own == other:
        return "and of those that train as few values it takes the least time"
    what = f"{own:,} values besides the head" if own else "the head alone"
    return f"and it trains the least: {what} ({next_one['method']}: {other:,} values)"


def _compared(done: Sequence[tuple[MethodResult, Numbers]], equal: Sequence[tuple[MethodResult, Numbers]]) -> list[str]:
    within = [one["method"] for one, _ in equal]
    behind = [f"{one['method']} ({shown(found)})" for one, found in done if one["method"] not in within]
    found = []
    widest = max((least_seen(equal[0][1], numbers) for _, numbers in equal[1:]), default=0.0)
    if widest > 0:
        found.append(
            f"{_and(within)} can't be told from the best: chance explains as much ({SURE:.0%}). That doesn't make them"
            f" equal: with these seeds, a difference below {widest:.3f} can go unseen."
        )
    elif len(within) > 1:
        found.append(f"{_and(within)} reach the very same.")
    if behind:
        found.append(f"Behind: {_and(behind)}.")
    edges = [one["method"] for one, _ in done if one["at_edge"]]
    if edges:
        found.append(f"Best at the edge of the rates tried, so perhaps not at their best: {_and(edges)}.")
    return found


def _unknown(done: Sequence[tuple[MethodResult, Numbers]], several: bool, metric: str, rows: int) -> list[str]:
    found = []
    counts = [len(numbers["values"]) for _, numbers in done]
    if several:
        found.append(f"{min(counts)} seeds tell how far chance moves a training on these rows, and only roughly.")
    elif max(counts) > 1:
        single = _and([one["method"] for (one, _), count in zip(done, counts, strict=True) if count == 1])
        found.append(f"Of {single} one seed alone went through: how far chance moves it is taken from the others.")
    else:
        found.append("One seed tells nothing of chance: small differences may be none. Try --seeds 3.")
    if metric == "accuracy" and rows:
        share = done[0][1]["mean"]
        half = 1.96 * math.sqrt(max(share * (1 - share), 1 / rows / 4) / rows)
        found.append(f"With {rows:,} validation rows an accuracy is known to ± {half:.3f}, whatever the seeds say.")
    return found


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
