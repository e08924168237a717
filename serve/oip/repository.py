"""The protocol's repository as Triton has it: which models there are, and adapters that come and go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serve.errors import Conflict, InputError, NotFound
from serve.oip.models import BUNDLE_VERSION, is_bundle, reference
from serve.runtime import Runtime
from serve.service import Service

FILES = ("file:adapter.json", "file:adapter.safetensors")


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One version of one model. What is listed is in service, so `state` is always READY."""

    name: str
    version: str
    state: str = "READY"
    reason: str = ""


async def index(service: Service) -> list[IndexEntry]:
    """Every version of every model, the bundle's first."""
    own = service.runtime.bundle.manifest.name
    adapters = [info for info in await service.at_runtime(lambda runtime: runtime.list()) if info.name != own]
    return [
        IndexEntry(own, BUNDLE_VERSION),
        *(IndexEntry(info.name, str(version)) for info in adapters for version in info.versions),
    ]


async def load(service: Service, name: str, parameters: Mapping[str, Any]) -> None:
    """Take an adapter into service.

    With both of `FILES`, as bytes, they become the name's next version and its default. Without, a name that is in
    service stays as it is (its default too, which someone may have rolled back to), and one of the bundle's own that
    was unloaded comes back. Triton's `config` is taken where it is empty: an adapter's settings are in adapter.json.
    Raises InputError (parameters, files), NotFound (no such adapter), Conflict (the bundle's own model).
    """
    files = _files(parameters)
    if is_bundle(service, name):
        if files:
            raise Conflict(f"model {name} is the bundle's; load an adapter under another name")
        return
    reference(name, "")

    def work(runtime: Runtime) -> None:
        if files:
            runtime.add(files, name)
            return
        try:
            runtime.show(name)
        except NotFound as error:
            swap = runtime.bundle.manifest.swap
            if swap is None or name not in swap.adapters:
                raise NotFound(f"{error}; to add it, load it with {' and '.join(FILES)}") from error
            runtime.add(runtime.bundle.path / "adapters" / name, name)

    await service.at_runtime(work)


async def unload(service: Service, name: str) -> None:
    """Take an adapter, all its versions, out of service: it is removed.

    Triton's unload ends in a model that is not ready, here and after a restart, and drops what `load` brought as
    files; only a removal does both. Its requests under way are finished. One of the bundle's own adapters can be
    loaded again by its name, others with their files.
    Raises NotFound, and Conflict for the bundle's own model.
    """
    if is_bundle(service, name):
        raise Conflict(f"model {name} is the bundle's and stays; stop the server, or unload one of its adapters")
    ref = reference(name, "")
    await service.at_runtime(lambda runtime: runtime.remove(ref))


def _files(parameters: Mapping[str, Any]) -> tuple[bytes, bytes] | None:
    for key in sorted(parameters):  # a message's map has no order
        if key not in ("config", *FILES):
            raise InputError(f'parameter "{key}": not known; available: config, {", ".join(FILES)}')
    _check_config(parameters.get("config", ""))
    found = [parameters.get(key) for key in FILES]
    if found == [None, None]:
        return None
    document, tensors = found
    if not isinstance(document, bytes) or not isinstance(tensors, bytes):
        raise InputError(f"parameters: must hold both of {' and '.join(FILES)}, or none")
    return document, tensors


def _check_config(text: Any) -> None:
    try:
        empty = text == "" or json.loads(text) == {}
    except (TypeError, ValueError, RecursionError):
        empty = False
    if not empty:
        raise InputError('parameter "config": must be empty or "{}"; an adapter\'s settings are in adapter.json')
