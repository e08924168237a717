"""The page of `svfit compare`: which method to use, why, and everything it was concluded from, in one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.compare.result import Comparison, Numbers
from pipeline.report import names
from pipeline.report.compare_bars import bars
from pipeline.report.compare_curves import curves, losses
from pipeline.report.compare_look import Entry, entries, named, sheet
from pipeline.report.compare_rates import rates
from pipeline.report.compare_scatter import scatter
from pipeline.report.compare_tables import every_metric, every_seed, has_test, methods
from pipeline.report.compare_words import LORA, fixed, in_line, memory, money, places, sentence, share
from pipeline.report.details import code, config, folded, machine
from pipeline.report.headline import tile
from pipeline.report.markup import Html, el, facts, isolate, join
from pipeline.report.page import contents, head
from pipeline.report.values import count, duration, moment, number, plural, significant, size

Section = Callable[[Comparison, Sequence[Entry]], Html | None]
SPLITS = ("train", "validation", "test")
TASKS = {
    "text-classification": "put texts into classes",
    "text-regression": "give texts a number",
    "token-classification": "find entities in texts",
}


def render(document: Comparison) -> str:
    """A comparison's document (`pipeline.compare.result`) as one HTML page that loads nothing and runs nothing.

    Text from the document is escaped and keeps its own writing direction. The same document gives the same page.
    """
    listed = entries(document)
    found = contents((key, title, section(document, listed)) for key, title, section in SECTIONS)
    main = el("main", recommendation(document, listed), tiles(document, listed), *found)
    body = el("body", header(document), main, footer(document))
    name = document["name"] or "Untitled"
    return f"<!doctype html>\n{el('html', head(name, 'comparison', sheet()), body, lang='en')}\n"


def header(document: Comparison) -> Html:
    """Name, and one sentence on what was compared."""
    created = document["created"]
    eyebrow = join([f"svfit {created.get('svfit', '')} comparison", el("time", moment(created.get("at")))], " · ")
    lead = [
        f"{plural(len(document['methods']), 'way', 'ways')} to teach ",
        el("strong", isolate(document["base"].get("name") or "a model")),
        f" to {TASKS.get(document['task'], document['task'])}, with {plural(document['rates_tried'], 'learning rate')}"
        f" tried for each and {plural(len(document['seeds']), 'seed')} at the best.",
    ]
    name = el("h1", isolate(document["name"] or "Untitled"))
    return el("header", el("p", eyebrow, cls="eyebrow"), name, el("p", *lead, cls="lead"))


def recommendation(document: Comparison, listed: Sequence[Entry]) -> Html:
    """What to use, why, and what isn't known."""
    said = document["recommendation"]
    chosen = next((entry for entry in listed if entry.chosen), None)
    title = join(["Recommended: ", named(chosen)]) if chosen else "No recommendation"
    equals = [entry for entry in listed if entry.result["method"] in said["equals"]]
    reasons = [el("li", sentence(reason)) for reason in said["reasons"]]
    chips = [el("li", named(entry)) for entry in equals]
    return el(
        "div",
        el("h2", title),
        el("p", sentence(said["text"]), cls="said"),
        el("h3", "Why, and what is not known") if reasons else None,
        el("ul", *reasons) if reasons else None,
        el("h3", "Can't be told apart") if chips else None,
        el("ul", *chips, cls="chips") if chips else None,
        cls="chosen" if chosen else "chosen none",
    )


def tiles(document: Comparison, listed: Sequence[Entry]) -> Html | None:
    """The recommended method's four numbers."""
    chosen = next((entry.result for entry in listed if entry.chosen and entry.done), None)
    if chosen is None:
        return None
    metric, price = document["metric"], document["price"]
    after = places(document, metric)
    test, validation = (chosen["test"] or {}).get(metric), (chosen["validation"] or {}).get(metric)
    on_validation = f"{in_line(validation, after)} on validation" if test and validation else None
    score = test or validation
    trained, cost = chosen["trained"], chosen["cost"]
    full = number(document["full_values"])
    part = f"{100 * trained['adapter'] / full:.2g}% of these layers' weights" if trained and full else None
    lora = f"{share(chosen['share_of_lora'])} of {LORA}'s"
    if trained and not trained["adapter"]:
        lora, part = f"but the head's {count(trained['head'])}", None
    step = chosen["seconds_per_step"]
    return el(
        "dl",
        tile(
            f"{'Test' if test else 'Validation'} {names.within(metric)}",
            headline(score, after),
            on_validation,
        ),
        tile("Trained values", count(trained and trained["adapter"]), lora, part),
        tile(
            "One training",
            duration(chosen["seconds"]),
            f"{significant(step)} s a step" if number(step) is not None else None,
            f"costs {money(cost['training'], price['currency'])}" if cost and price else None,
        ),
        tile("Peak memory", memory(chosen["peak_memory_bytes"]), f"{size(chosen['bytes'])} learned, head included"),
        cls="tiles",
    )


def headline(score: Numbers | None, after: int) -> Html:
    """A mean, large, and its spread."""
    spread = number(score["spread"]) if score else None
    plus = el("small", f" ± {fixed(spread, after)}") if spread is not None else None
    return join([fixed(score["mean"] if score else None, after), plus])


def answer(document: Comparison, listed: Sequence[Entry]) -> Html | None:
    """The picture, then the methods that aren't in it."""
    drawn = scatter(document, listed)
    missing = [entry for entry in listed if not entry.done]
    if drawn is None or not missing:
        return drawn
    titles = join((isolate(entry.title) for entry in missing), ", ")
    return el("div", drawn, el("p", "Not in the pictures, as nothing was measured: ", titles, ".", cls="small"))


def metric_tables(document: Comparison, listed: Sequence[Entry]) -> Html | None:
    """Every metric, and every seed on request."""
    made = every_metric(document, listed)
    if made is None:
        return None
    return el("div", made, folded("Every seed", every_seed(document, listed)))


def how(document: Comparison, _: Sequence[Entry]) -> Html:
    """How it was done: enough to judge it, and to do it again."""
    data, found = document["data"], document["machine"]
    rows = data.get("rows") or {}
    test = (
        "The test rows were read once the rates were chosen, with each seed's training at the chosen rate."
        " They chose nothing."
        if has_test(document)
        else "There were no test rows: the scores are of the rows that chose epochs and rates; expect less of new ones."
    )
    fair = (
        f"Every method was tried at {plural(document['rates_tried'], 'learning rate')} with the first seed; the rate"
        f" with the best validation {names.within(document['metric'])} was kept for"
        f" {'all seeds' if len(document['seeds']) > 1 else 'it'}. Each training ran in a process of its own, on the"
        " same rows in the order its seed says, and its best epoch on validation counts. train.weight_decay is every"
        " head's, and nothing else's. On a CPU the peak of memory holds the best epoch's trained values too, which for"
        " every weight is the model once more."
    )
    told = facts(
        [
            *((f"{split.capitalize()} rows", count(rows[split])) for split in SPLITS if rows.get(split) is not None),
            ("Classes", count(len(data.get("labels") or [])) if data.get("labels") else ""),
            ("Decided by", f"validation {names.within(document['metric'])}"),
            ("Seeds", ", ".join(str(seed) for seed in document["seeds"])),
            ("Rates for each method", count(document["rates_tried"])),
            ("Trained on", str(found.get("device") or "")),
            ("All trainings", duration(document["seconds"])),
            ("Values of " + LORA, count(document["lora_values"])),
            ("Weights of these layers", count(document["full_values"])),
        ]
    )
    made = [
        folded("Machine", machine(found)),
        folded("Model and versions", identity(document)),
        folded("Classes", classes(data.get("labels") or [])),
        folded("Configuration", config(document["config"])),
    ]
    return el("div", el("div", el("p", fair), el("p", test), cls="told"), told, el("div", *made))


def identity(document: Comparison) -> Html | None:
    """What it was made from, and with."""
    created = document["created"]
    versions = created.get("versions") or {}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return facts(
        [
            ("Base model", isolate(document["base"].get("name") or "")),
            ("Base sha256", code(document["base"].get("sha256"))),
            ("Made", moment(created.get("at"))),
            ("svfit", str(created.get("svfit") or "")),
            ("Versions", listed),
        ]
    )


def classes(labels: Sequence[str]) -> Html | None:
    """The labels in their order."""
    return el("p", join((isolate(label) for label in labels), ", "), cls="small") if labels else None


def footer(document: Comparison) -> Html:
    """Who made the page."""
    created = document["created"]
    made = " ".join(part for part in ("svfit", str(created.get("svfit") or ""), moment(created.get("at"))) if part)
    return el("footer", el("p", f"Written by {made}. With --json, the same numbers for programs."))


SECTIONS: tuple[tuple[str, str, Section], ...] = (
    ("answer", "Score for trained values", answer),
    ("methods", "Methods", methods),
    ("metrics", "Every metric", metric_tables),
    ("progress", "How fast it gets there", curves),
    ("loss", "Loss", losses),
    ("rates", "Learning rates", rates),
    ("effort", "Time and memory", bars),
    ("how", "How it was done", how),
)
