"""`svfit adapter add`, `list`, `show` and so on: which adapters a swappable bundle has, and which version answers."""

# ruff: noqa: ARG001 - quiet changes nothing where there is no progress

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.cli.adapter_view import document_of, show_added, show_card, show_default, show_list, told
from pipeline.cli.output import common_options, emit, progress_console

if TYPE_CHECKING:
    from serve.adapters.registry import Registry
    from serve.bundle import Bundle

F = TypeVar("F", bound=Callable[..., Any])

DROPPED = 0.01  # share of what an adapter learned whose loss is remarked on

bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))


def state_options(command: F) -> F:
    """Add `--state` (as `state: Path | None`) and the common options."""
    return click.option(
        "--state",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Folder of adapters that came later. [default: state in the bundle]",
    )(common_options(command))


@contextmanager
def open_registry(bundle: Path, state: Path | None) -> Iterator[tuple[Bundle, Registry]]:
    """A bundle and its adapters. Its graphs are neither loaded nor hashed, so this takes no longer for a large one."""
    from serve.adapters.registry import Registry
    from serve.bundle import Bundle

    opened = Bundle.open(bundle, check=False)
    registry = Registry(opened, state)
    try:
        yield opened, registry
    finally:
        registry.close()


@click.command(short_help="Add an adapter, or the next version of one.")
@bundle_argument
@click.argument("folder", metavar="ADAPTER_DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, metavar="NAME", help="What requests call it.")
@state_options
def add(bundle: Path, folder: Path, name: str, state: Path | None, as_json: bool, quiet: bool) -> None:
    """Add ADAPTER_DIR, an adapter's folder or a run's, to a swappable BUNDLE.

    It must have been trained on the bundle's basis: the same base weights, targets and ranks. Under a name that is
    there already it is the next version. Either way it is what the plain name means from now on.

    \b
      svfit adapter add site.bundle runs/returns --name returns
      svfit predict site.bundle --adapter returns "it arrived broken"
    """
    run = not (folder / "adapter.json").exists() and (folder / "adapter" / "adapter.json").is_file()
    with open_registry(bundle, state) as (_, registry):
        document = told(registry, registry.add(name, folder / "adapter" if run else folder))
    emit(document, as_json=as_json, render=show_added)
    if document["dropped"] > DROPPED:
        progress_console(quiet).print(
            f"{100 * document['dropped']:.1f} % of what it learned lies on directions that this bundle's graph doesn't"
            f" carry; train it for this bundle with --set adapter.onto={bundle}",
            markup=False,
            soft_wrap=True,
        )


@click.command("list", short_help="List a bundle's adapters.")
@bundle_argument
@state_options
def list_adapters(bundle: Path, state: Path | None, as_json: bool, quiet: bool) -> None:
    """List BUNDLE's adapters by name, each as its default version is."""
    from serve.errors import NotFound

    with open_registry(bundle, state) as (_, registry):
        adapters = [document_of(entry.default, entry.default, entry.versions) for entry in registry.entries().values()]
        try:
            unnamed = registry.default().ref
        except NotFound:
            unnamed = None
    emit({"adapters": adapters, "unnamed": unnamed}, as_json=as_json, render=show_list)


@click.command("show", short_help="Show an adapter with its card.")
@bundle_argument
@click.argument("ref", metavar="NAME[@VERSION]")
@state_options
def show_adapter(bundle: Path, ref: str, state: Path | None, as_json: bool, quiet: bool) -> None:
    """Show one of BUNDLE's adapters with its card: its default version, or the one asked for."""
    with open_registry(bundle, state) as (_, registry):
        record = registry.resolve(ref)
        document = {
            **told(registry, record),
            "folder": str(record.folder),
            "card": registry.load(record).card,
        }
    emit(document, as_json=as_json, render=show_card)


@click.command(short_help="Remove an adapter, or one version of it.")
@bundle_argument
@click.argument("ref", metavar="NAME[@VERSION]")
@state_options
def remove(bundle: Path, ref: str, state: Path | None, as_json: bool, quiet: bool) -> None:
    """Remove NAME with all its versions from BUNDLE, or one version that isn't its default.

    A server finishes what it has begun with it. The number of a version is never given again.
    """
    with open_registry(bundle, state) as (_, registry):
        removed = [record.ref for record in registry.remove(ref)]
    emit({"removed": removed}, as_json=as_json, render=lambda _: click.echo(f"removed   {', '.join(removed)}"))


@click.command(short_help="Give an adapter another name.")
@bundle_argument
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@state_options
def rename(bundle: Path, old: str, new: str, state: Path | None, as_json: bool, quiet: bool) -> None:
    """Give the adapter OLD of BUNDLE, with all its versions, the name NEW, which no other may have."""
    with open_registry(bundle, state) as (_, registry):
        document = told(registry, registry.rename(old, new))
    emit(document, as_json=as_json, render=show_default)


@click.command(short_help="Choose the version that a plain name means.")
@bundle_argument
@click.argument("name", metavar="NAME")
@click.argument("version", metavar="VERSION", type=click.IntRange(min=1))
@state_options
def default(bundle: Path, name: str, version: int, state: Path | None, as_json: bool, quiet: bool) -> None:
    """Make VERSION what the plain NAME means in BUNDLE from now on."""
    with open_registry(bundle, state) as (_, registry):
        document = told(registry, registry.set_default(name, version))
    emit(document, as_json=as_json, render=show_default)


@click.command(short_help="Make the default version what it was before.")
@bundle_argument
@click.argument("name", metavar="NAME")
@state_options
def rollback(bundle: Path, name: str, state: Path | None, as_json: bool, quiet: bool) -> None:
    """Make the default version of NAME in BUNDLE what it was before.

    The version that it leaves stays, and can be asked for by its number.
    """
    with open_registry(bundle, state) as (_, registry):
        document = told(registry, registry.rollback(name))
    emit(document, as_json=as_json, render=show_default)


COMMANDS: tuple[click.Command, ...] = (add, list_adapters, show_adapter, remove, rename, default, rollback)
