"""`svfit serve`: a bundle's answers over HTTP, and over gRPC where a port is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.output import common_options
from pipeline.cli.profile import profile_option
from pipeline.cli.trust import trust_option

if TYPE_CHECKING:
    from serve.http.server import Started
    from serve.profile import Where


@click.command()
@click.argument("bundle", metavar="[BUNDLE]", required=False, type=click.Path(path_type=Path))
@click.option("--host", metavar="HOST", help="Address to listen on. [default: 127.0.0.1, this machine alone]")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Port; 0 takes a free one. [default: 8080]")
@click.option("--grpc-port", type=click.IntRange(0, 65535), metavar="N", help="Port of gRPC too. [default: none]")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of adapters that come later. [default: the bundle's own]",
)
@click.option(
    "--site",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of releases, which `svfit push` adds to. BUNDLE is its first where it is empty.",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="TOML file with a [serve] table.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a setting, such as max_rows=64. Repeatable.",
)
@click.option("--variant", metavar="NAME", help="Which precision answers, fp32 or int8. [default: the bundle's]")
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="CPU threads of a batch. [default: cores by workers]"
)
@profile_option
@trust_option
@common_options
def serve(
    bundle: Path | None,
    host: str | None,
    port: int | None,
    grpc_port: int | None,
    state: Path | None,
    site: Path | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
    variant: str | None,
    threads: int | None,
    profile: Where,
    trust: tuple[Path, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Serve BUNDLE over HTTP until told to stop; its adapters come and go without a restart.

    With --site, whole bundles do too: the site's current release is served, and BUNDLE only where it has none yet.

    Keys are read from SVFIT_API_KEY and SVFIT_ADMIN_KEY, or from files that the settings name. The log goes to
    stderr; one line on stdout (a document with --json) says the address once requests are taken.

    \b
      svfit serve site.bundle --port 8080
      curl -s localhost:8080/v1/predict -d '{"adapter": "returns", "text": "it arrived broken"}'
    """
    from serve.config import load_config

    given = {
        "host": host,
        "port": port,
        "grpc_port": grpc_port,
        "variant": variant,
        "threads": threads,
        "profile": profile,
        "site": None if site is None else site.absolute(),
    }
    placed = None if state is None else state.absolute()
    config = load_config(
        config_path, overrides, **given, trust=trust or None, state=placed, log="none" if quiet else None
    )

    from serve.http.server import run

    def announce(started: Started) -> None:
        click.echo(json.dumps(_document(started)) if as_json else _line(started))

    run(bundle, config, environment=os.environ, announce=announce)


def _document(started: Started) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(started)


def _line(started: Started) -> str:
    grpc = "" if started.grpc is None else f" and gRPC at {started.grpc}"
    count = "1 adapter" if started.adapters == 1 else f"{started.adapters} adapters"
    return f"{started.bundle} ({started.variant}, {count}) answers at {started.url}{grpc}; {started.url}/docs"
