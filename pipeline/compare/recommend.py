"""Which method to use: of those as good as the best, the one that trains the fewest values."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student

from pipeline.compare.result import MethodResult, Numbers, Recommendation

SURE = 0.95
"""How sure it has to be that two methods differ before one counts as clearly better."""
MARGIN = 0.01
"""Of the metric: what is further behind the best never counts as equal, however little the seeds can prove."""
ROUNDING = 1e-9


@dataclass(frozen=True)
class Gap:
    """How far a method is behind the best one, compared at the seeds that both have: a seed gives every method the same
    head and order of rows, so that what chance does to both isn't counted."""

    mean: float
    unseen: float | None
    """What chance explains (Student's test of pairs); None where fewer than two seeds are shared."""

    @property
    def sure(self) -> bool:
        return self.unseen is not None and self.mean > self.unseen + ROUNDING

    @property
    def equal(self) -> bool:
        return not self.sure and self.mean <= MARGIN + ROUNDING


@dataclass(frozen=True)
class Judged:
    """A method that went through, and where it stands against the best one."""

    result: MethodResult
    reached: Numbers
    gap: Gap

    @property
    def name(self) -> str:
        return self.result["method"]

    @property
    def values(self) -> int:
        trained = self.result["trained"]
        return trained["adapter"] if trained else 0

    def __str__(self) -> str:
        return f"{self.name} ({shown(self.reached)})"


def recommend(
    methods: Sequence[MethodResult], metric: str, *, higher_is_better: bool, rows: int, tested: bool
) -> Recommendation:
    """By the means on validation, `rows` many. `tested` says whether there are test rows, which choose nothing."""
    reasons = [f"{one['method']} failed: {one['reason']}" for one in methods if one["status"] == "failed"]
    done = _judged(methods, metric, 1 if higher_is_better else -1)
    if not done:
        text = "No method can be recommended: every one failed."
        return {"method": None, "text": text, "reasons": reasons, "equals": [], "judged_by": "validation"}
    equal = [one for one in done if one.gap.equal]
    chosen = min(equal, key=lambda one: (one.values, one.result["seconds"] or 0.0))
    reasons = [*_compared(done, equal), *reasons, *_unknown(done, metric, rows)]
    reasons.append(
        "Chosen by the validation rows, which also chose epochs and rates. The test rows chose nothing: their scores "
        "are the ones to expect."
        if tested
        else "Chosen by the validation rows, which also chose epochs and rates: on new rows, expect a little less. "
        "There are no test rows (data.test)."
    )
    return {
        "method": chosen.name,
        "text": f"Use {chosen.name}: validation {metric.replace('_', '-')} {shown(chosen.reached)}"
        f"{_because(chosen, done, equal)}.",
        "reasons": reasons,
        "equals": [one.name for one in equal] if len(equal) > 1 else [],
        "judged_by": "validation",
    }


def gap(best: MethodResult, other: MethodResult, metric: str, sign: int = 1) -> Gap:
    """Of two methods that went through; `sign` is -1 where a lower value of the metric is better."""
    first, second = (_by_seed(one, metric) for one in (best, other))
    shared = [sign * (first[seed] - second[seed]) for seed in first if seed in second]
    if not shared:
        return Gap(sign * (statistics.fmean(first.values()) - statistics.fmean(second.values())), None)
    mean, count = statistics.fmean(shared), len(shared)
    if count == 1:
        return Gap(mean, None)
    error = statistics.stdev(shared) / math.sqrt(count)
    return Gap(mean, float(student.ppf((1 + SURE) / 2, count - 1)) * error)


def shown(numbers: Numbers) -> str:
    """`0.921 ± 0.003`; the mean alone for one seed."""
    spread = "" if numbers["spread"] is None else f" ± {numbers['spread']:.3f}"
    return f"{numbers['mean']:.3f}{spread}"


def _judged(methods: Sequence[MethodResult], metric: str, sign: int) -> list[Judged]:
    """Those that went through, the best mean first."""
    done = [(one, one["validation"][metric]) for one in methods if one["status"] == "done" and one["validation"]]
    done.sort(key=lambda pair: -sign * pair[1]["mean"])
    return [Judged(one, reached, gap(done[0][0], one, metric, sign)) for one, reached in done]


def _by_seed(one: MethodResult, metric: str) -> dict[int, float]:
    validation = one["validation"] or {}
    return dict(zip(one["seeds"], validation[metric]["values"], strict=True))


def _because(chosen: Judged, done: Sequence[Judged], equal: Sequence[Judged]) -> str:
    """The rest of the sentence that recommends."""
    best = done[0]
    if len(done) == 1:
        return "; nothing else went through to compare it with"
    if chosen is not best:
        return f", not to be told from the best, {best}, {_fewest(chosen, equal)}"
    if len(equal) > 1:
        others = _and([one.name for one in equal if one is not chosen])
        return f", the best mean, not to be told from {others}, {_fewest(chosen, equal)}"
    said = []
    if clear := [one.name for one in done[1:] if one.gap.sure]:
        said.append(f"clearly better than {_and(clear)}")
    if ahead := [one.name for one in done[1:] if not one.gap.sure]:
        said.append(f"better than {_and(ahead)} on average, which these trainings can't prove")
    return f", {', and '.join(said)}"


def _fewest(chosen: Judged, equal: Sequence[Judged]) -> str:
    """Why it was chosen of several that are equal."""
    next_one = min((one for one in equal if one is not chosen), key=lambda one: one.values)
    own, other = chosen.values, next_one.values
    if own == other:
        return "and of those that train as few values it takes the least time"
    what = f"{own:,} values besides the head" if own else "the head alone"
    return f"and it trains the least: {what} ({next_one.name}: {other:,} values)"


def _compared(done: Sequence[Judged], equal: Sequence[Judged]) -> list[str]:
    best, found = done[0], []
    within = _and([one.name for one in equal])
    unseen = [one.gap.unseen for one in equal[1:] if one.gap.unseen is not None]
    if len(equal) > 1 and not any(one.gap.mean for one in equal):
        found.append(f"{within} reach the very same.")
    elif len(equal) > 1:
        said = f"{within} can't be told apart: at most {MARGIN:g} between the means, seed by seed"
        said += f", and chance explains as much ({SURE:.0%})." if unseen else "."
        if unseen:
            said += (
                f" That doesn't make them equal: with these seeds, a difference below {max(unseen):.3f} can go unseen."
            )
        found.append(said)
    behind = [str(one) for one in done if one.gap.sure]
    if behind:
        found.append(f"Clearly behind: {_and(behind)}.")
    for one in done:
        if not one.gap.sure and not one.gap.equal:
            found.append(
                f"{one} is {one.gap.mean:.3f} behind {best.name}, more than the {MARGIN:g} that may count as equal; but"
                " these seeds can't prove the difference, it may be chance. More seeds tell more (--seeds)."
            )
    edges = [one.name for one in done if one.result["at_edge"]]
    if edges:
        found.append(f"Best at the edge of the rates tried, so perhaps not at their best: {_and(edges)}.")
    return found


def _unknown(done: Sequence[Judged], metric: str, rows: int) -> list[str]:
    found = []
    counts = [len(one.reached["values"]) for one in done]
    if min(counts) > 1:
        found.append(f"{min(counts)} seeds tell how far chance moves a training on these rows, and only roughly.")
    elif max(counts) > 1:
        single = _and([one.name for one, count in zip(done, counts, strict=True) if count == 1])
        found.append(f"Of {single} one seed alone went through: nothing tells how far chance moves it.")
    else:
        found.append("One seed tells nothing of chance: small differences may be none. Try --seeds 3.")
    if metric == "accuracy" and rows:
        share = done[0].reached["mean"]
        half = 1.96 * math.sqrt(max(share * (1 - share), 1 / rows / 4) / rows)
        found.append(f"With {rows:,} validation rows an accuracy is known to ± {half:.3f}, whatever the seeds say.")
    return found


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
