"""What is updated: an adapter, and all that is known of where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from export.adapter import Adapter
from pipeline.config.schema import AdapterSection, Config, DataSection, ModelSection
from pipeline.data.labels import TASKS
from pipeline.stages.context import Context, read_config
from pipeline.update.wish import Wish
from serve.bundle import MANIFEST
from serve.errors import InputError, UsageError
from serve.files import sha256_file

FILES = ("adapter.json", "adapter.safetensors")
NEEDED = ("base", "dropout", "labels", "max_length", "pooling", "task", "train_bias", "train_layernorm")


@dataclass(frozen=True)
class Parent:
    """`context` is the run's, or made up from the card; then it has no rows. `run` is None for a lone adapter."""

    folder: Path
    adapter: Adapter
    context: Context
    run: Path | None
    bundle: Path | None
    """The bundle that the folder lies in."""

    @property
    def task(self) -> str:
        return str(self.adapter.card["task"])

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.adapter.card["labels"])

    @property
    def chain(self) -> list[dict[str, Any]]:
        """Every version up to this one, oldest first, each with the sha256 of its files."""
        earlier = list(self.adapter.card.get("updated_from", []))
        hashes = {name: sha256_file(self.folder / name) for name in FILES}
        return [*earlier, {"version": len(earlier) + 1, "files": hashes}]

    @property
    def version(self) -> int:
        return len(self.adapter.card.get("updated_from", [])) + 1


def read_parent(wish: Wish, console: Console) -> Parent:
    """Raises `UsageError` where the folder is neither an adapter nor a run, `InputError` where it can't go on."""
    named = wish.adapter
    run = named if not (named / FILES[0]).exists() and (named / "adapter").is_dir() else None
    folder = named if run is None else named / "adapter"
    if not (folder / FILES[0]).is_file():
        raise UsageError(
            f"{named}: neither an adapter's folder (adapter.json, adapter.safetensors) nor a run's (adapter/); "
            "make one with: svfit run CONFIG.toml"
        )
    adapter = Adapter.load(folder)
    _check_card(folder, adapter.card)
    if adapter.card["task"] not in TASKS:
        raise UsageError(
            f"{folder}: an update goes on with {' and '.join(TASKS)}; this is {adapter.card['task']}: "
            "put the new rows among the others and train again, with svfit run"
        )
    bundle = next(_bundles(folder), None)
    onto = wish.onto or (bundle if run is None else None)
    config = _config_of_card(folder, adapter, wish) if run is None else _config_of_run(run)
    if onto is not None:
        placed = config.adapter.model_copy(update={"onto": str(onto.resolve())})
        config = config.model_copy(update={"adapter": placed})
    parent = Parent(folder, adapter, Context(config, run or folder.parent, console), run, bundle)
    _check_base(parent)
    return parent


def _bundles(folder: Path) -> Iterator[Path]:
    yield from (above for above in folder.resolve().parents if (above / MANIFEST).is_file())


def _check_card(folder: Path, card: Any) -> None:
    missing = [key for key in (*NEEDED, "whole_modules", "trained") if key not in card]
    whole = isinstance(card.get("base"), dict) and {"name", "sha256"} <= card["base"].keys()
    if missing or not whole:
        lacking = missing[0] if missing else "base.sha256"
        raise InputError(f"{folder}: adapter.json: its card lacks {lacking}, without which training can't go on")
    if not isinstance(card.get("updated_from", []), list):
        raise InputError(f"{folder}: adapter.json: updated_from is no list of versions")


def _config_of_run(run: Path) -> Config:
    try:
        return read_config(run)
    except InputError as error:
        raise InputError(f"{error}; update the adapter alone: {run}/adapter") from None


def _config_of_card(folder: Path, adapter: Adapter, wish: Wish) -> Config:
    card = adapter.card
    text = wish.text or ("text",)
    try:
        return Config(
            name=folder.resolve().name,
            path=(folder / FILES[0]).absolute(),
            model=ModelSection(
                base=card["base"]["name"],
                max_length=card["max_length"],
                pooling=card["pooling"],
                head_dropout=card["dropout"],
            ),
            data=DataSection(
                train=str(wish.data),
                text=text[0] if len(text) == 1 else list(text),
                label=wish.label or "label",
                dataset=None,
            ),
            adapter=AdapterSection.model_validate(
                {"core": adapter.core.kind, **{key: card[key] for key in ("train_bias", "train_layernorm")}}
            ),
        )
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise InputError(f"{folder}: adapter.json: its card can't be used: {place}: {fault['msg']}") from None


def _check_base(parent: Parent) -> None:
    named, here = parent.adapter.card["base"], parent.context.base
    if named["sha256"] != here["sha256"]:
        raise InputError(
            f"{parent.folder}: trained on {named['name']} ({str(named['sha256'])[:12]}); "
            f"{here['name']} is here with other weights ({here['sha256'][:12]}), and an adapter only fits its own"
        )
