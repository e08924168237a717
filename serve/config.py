"""Every setting of the server, from a TOML file's [serve] table and `--set KEY=VALUE`."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from serve.errors import UsageError

LARGEST_FILE = 2**20  # bytes; a configuration is some KB, so anything larger is another kind of file
LOGS = ("json", "text", "none")
Check = Callable[[Any], str]
"""What a value must be, where it isn't ("must be …"), or ""."""


def _whole(least: int, most: int = 2**31 - 1) -> Check:
    def check(value: Any) -> str:
        right = type(value) is int and least <= value <= most
        return "" if right else f"must be a whole number of {least} to {most}"

    return check


def _number(least: float, most: float = 1e9) -> Check:
    def check(value: Any) -> str:
        right = type(value) in (int, float) and math.isfinite(value) and least <= value <= most
        return "" if right else f"must be a number of {least:g} to {most:g}"

    return check


def _text(value: Any) -> str:
    return "" if isinstance(value, str) and value else "must be text in quotes, not empty"


def _path(value: Any) -> str:
    return "" if isinstance(value, Path) else "must be a path in quotes, not empty"


def _profile(value: Any) -> str:
    return "" if value == "none" or isinstance(value, Path) else 'must be a path in quotes, or "none"'


def _texts(value: Any) -> str:
    right = isinstance(value, tuple) and all(isinstance(item, str) and item for item in value)
    return "" if right else 'must be a list of texts, such as ["a", "b"]'


def _paths(value: Any) -> str:
    right = isinstance(value, tuple) and all(isinstance(item, Path) for item in value)
    return "" if right else 'must be a list of paths, such as ["site.pub"]'


def _log(value: Any) -> str:
    return "" if value in LOGS else f"must be one of {', '.join(LOGS)}"


def _promote(value: Any) -> str:
    if value in ("never", "auto") or (isinstance(value, tuple) and not _texts(value)):
        return ""
    return 'must be "never", "auto" or a list of adapters, such as ["returns"]'


def _key(check: Check, description: str) -> dict[str, Any]:
    return {"check": check, "description": description}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """The server's settings. A default of None leaves the choice to what it configures."""

    host: str = field(
        default="127.0.0.1", metadata=_key(_text, "Address to listen on; 0.0.0.0 is every one this machine has.")
    )
    port: int = field(default=8080, metadata=_key(_whole(0, 65535), "Port of HTTP; 0 takes a free one."))
    grpc_port: int | None = field(
        default=None, metadata=_key(_whole(0, 65535), "Port of gRPC; 0 takes a free one. Off unless given.")
    )
    state: Path | None = field(
        default=None, metadata=_key(_path, "Folder of adapters that came later. The bundle's own unless given.")
    )
    variant: str | None = field(
        default=None, metadata=_key(_text, "Which precision answers, fp32 or int8. The bundle's default unless given.")
    )
    threads: int | None = field(
        default=None, metadata=_key(_whole(1, 1024), "CPU threads of a batch. Cores divided by workers unless given.")
    )
    profile: Path | Literal["none"] | None = field(
        default=None,
        metadata=_key(_profile, "What `svfit tune` found, or none. BUNDLE.device.json unless given, if there."),
    )
    max_body_mb: float = field(
        default=16.0, metadata=_key(_number(0.001, 4096), "Largest body of a request, in MB; above it is 413.")
    )
    max_rows: int = field(default=1024, metadata=_key(_whole(1), "Most rows of a request; above it is 413."))
    max_characters: int = field(
        default=1_000_000, metadata=_key(_whole(1), "Most characters of a request, all its rows; above it is 413.")
    )
    max_pixels: int = field(
        default=100_000_000,
        metadata=_key(_whole(1), "Most pixels of a request, all its images, before decoding; above it is 413."),
    )
    queue_rows: int = field(
        default=2048, metadata=_key(_whole(1), "Most rows that wait; when it is full, requests get 429.")
    )
    timeout_ms: int = field(
        default=30_000, metadata=_key(_whole(1), "Time a request has, unless its X-Request-Timeout-Ms says otherwise.")
    )
    max_timeout_ms: int = field(
        default=300_000, metadata=_key(_whole(1), "Longest time that X-Request-Timeout-Ms can ask for.")
    )
    read_seconds: float = field(
        default=30.0, metadata=_key(_number(0.1, 3600), "Time that a request's body may take to arrive.")
    )
    max_batch_rows: int = field(default=32, metadata=_key(_whole(1, 4096), "Most rows computed at once."))
    max_batch_tokens: int = field(default=4096, metadata=_key(_whole(1), "Most tokens, padding too, computed at once."))
    max_delay_ms: float = field(
        default=20.0, metadata=_key(_number(0, 60_000), "How long a row may be passed over for better company.")
    )
    workers: int = field(default=2, metadata=_key(_whole(1, 256), "Batches computed at the same time."))
    drain_seconds: float = field(
        default=30.0, metadata=_key(_number(0, 3600), "Time to finish what is under way when told to stop.")
    )
    adapters_mb: float = field(
        default=256.0, metadata=_key(_number(0.001), "Memory for adapters, in MB; those least used leave.")
    )
    promote: str | tuple[str, ...] = field(
        default="never", metadata=_key(_promote, "Which adapters get a graph of their own: never, auto, names.")
    )
    promote_mb: float = field(default=512.0, metadata=_key(_number(0), "Memory for promoted adapters, in MB."))
    api_keys_file: Path | None = field(
        default=None, metadata=_key(_path, "File of API keys, one a line (or SVFIT_API_KEY).")
    )
    admin_keys_file: Path | None = field(
        default=None, metadata=_key(_path, "File of keys that may change adapters (or SVFIT_ADMIN_KEY).")
    )
    trust: tuple[Path, ...] = field(
        default=(), metadata=_key(_paths, 'Files of public keys, such as ["site.pub"]; only bundles they signed serve.')
    )
    site: Path | None = field(
        default=None, metadata=_key(_path, "Folder of releases that `svfit push` adds to. None unless given.")
    )
    site_keep: int = field(
        default=3, metadata=_key(_whole(1, 1000), "Releases that a site keeps, the current one too.")
    )
    site_max_mb: float = field(
        default=4096.0, metadata=_key(_number(0.001, 1e6), "Largest release, in MB, as it is sent and unpacked.")
    )
    tls_cert: Path | None = field(
        default=None, metadata=_key(_path, "Certificate chain, PEM; with tls_key it makes HTTPS.")
    )
    tls_key: Path | None = field(default=None, metadata=_key(_path, "The certificate's private key, PEM."))
    cors_origins: tuple[str, ...] = field(
        default=(), metadata=_key(_texts, 'Web pages that may call from a browser, such as ["https://x.org"].')
    )
    log: Literal["json", "text", "none"] = field(
        default="json", metadata=_key(_log, "Form of the log on stderr: json, text or none.")
    )
    metrics_labels: int = field(
        default=100, metadata=_key(_whole(0, 10_000), 'Adapters that /metrics names; the others are "other".')
    )

    def __post_init__(self) -> None:
        """Raises UsageError with a line for every value that can't be."""
        values = {name: getattr(self, name) for name in KEYS}
        lines = [f"serve.{name}: {problem}" for name, problem in _problems(values)]
        if lines:
            raise UsageError("\n".join(lines))


KEYS = {item.name: item for item in dataclasses.fields(ServeConfig)}


def load_config(path: Path | None = None, overrides: Sequence[str] = (), **given: Any) -> ServeConfig:
    """Settings of `path`'s [serve] table, then `overrides` ("max_rows=64"), then `given` (None: not given).

    Other tables of the file are a run's, and are left alone. Paths in the file are relative to its folder.
    Raises one UsageError with a line for every problem.
    """
    sources: dict[str, str] = {}
    values: dict[str, Any] = {}
    lines: list[str] = []
    if path is not None:
        for name, value in _table(path).items():
            if name in KEYS:
                values[name], sources[name] = _placed(name, value, path.absolute().parent), f"{path}: serve."
            else:
                lines.append(f"{path}: serve.{name}: {_unknown(name)}")
    for text in overrides:
        name, equals, value = text.partition("=")
        name = name.strip().removeprefix("serve.")
        if not equals:
            lines.append(f"--set {text}: must be KEY=VALUE, such as max_rows=64")
        elif name not in KEYS:
            lines.append(f"--set {name}: {_unknown(name)}")
        else:
            values[name], sources[name] = _placed(name, _value(value.strip()), Path()), "--set "
    for name, value in given.items():
        if value is not None:
            values[name], sources[name] = value, f"--{name.replace('_', '-')}|"
    found = _problems(values)
    for name, problem in found:
        source = sources.get(name, "serve.")
        lines.append(f"{source[:-1]}: {problem}" if source.endswith("|") else f"{source}{name}: {problem}")
    if lines:
        raise UsageError("\n".join(lines))
    return ServeConfig(**values)


def _problems(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Each key of these that can't be, with what is wrong; a key that isn't there has its default."""
    found = []
    for name, value in values.items():
        optional = value is None and KEYS[name].default is None
        problem = "" if optional else KEYS[name].metadata["check"](value)
        if problem:
            found.append((name, f"{problem} (got {_shown(value)})"))
    if found:
        return found
    merged = {name: values.get(name, key.default) for name, key in KEYS.items()}
    if merged["timeout_ms"] > merged["max_timeout_ms"]:
        found.append(("timeout_ms", f"must not be above max_timeout_ms (got {merged['timeout_ms']})"))
    if (merged["tls_cert"] is None) != (merged["tls_key"] is None):
        found.append(("tls_cert", "goes with tls_key: give both, or neither"))
    if merged["site"] is not None and merged["state"] is not None:
        found.append(("state", "doesn't go with site, where each release keeps its own"))
    return found


def _table(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as handle:
            raw = handle.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror or error})") from error
    if len(raw) > LARGEST_FILE:
        raise UsageError(f"{path}: over {LARGEST_FILE} bytes is no configuration")
    try:
        document = tomllib.loads(raw.decode("utf-8-sig"))
    except ValueError as error:  # UnicodeDecodeError and TOMLDecodeError
        raise UsageError(f"{path}: not valid TOML ({error})") from error
    loose = [name for name, value in document.items() if name in KEYS and not isinstance(value, dict)]
    table = document.get("serve")
    if loose or not isinstance(table, dict):
        found = f"{', '.join(loose)} must stand under it" if loose else f"found: {', '.join(document) or 'nothing'}"
        raise UsageError(f"{path}: needs a [serve] table; {found}")
    return table


def _placed(name: str, value: Any, folder: Path) -> Any:
    """A value as the dataclass holds it: paths absolute, lists as tuples."""
    if isinstance(value, list):
        paths = KEYS[name].metadata["check"] is _paths and all(isinstance(item, str) and item for item in value)
        return tuple((folder / Path(item).expanduser()).absolute() if paths else item for item in value)
    check = KEYS[name].metadata["check"]
    if isinstance(value, str) and value and (check is _path or (check is _profile and value != "none")):
        return (folder / Path(value).expanduser()).absolute()
    return value


def _value(text: str) -> Any:
    """A TOML value, or the text itself where it is none."""
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return document["value"] if list(document) == ["value"] else text


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, KEYS, n=1)
    return f'unknown key; did you mean "{near[0]}"?' if near else f"unknown key; available: {', '.join(KEYS)}"


def _shown(value: Any) -> str:
    try:
        text = json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
    except TypeError:
        text = str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
