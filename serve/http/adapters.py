"""/v1/adapters: which there are, and how they come, go, and change their default version."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile

from serve.errors import InputError
from serve.http.bodies import described, parse
from serve.http.errors import RESPONSES
from serve.runtime import Runtime
from serve.service import Service

PARTS = ("adapter.json", "adapter.safetensors")
PROMOTE_SECONDS = 2.0  # waited for a graph that is being built; `promoted` in the answer says whether it is there
UPLOAD = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": list(PARTS),
                "properties": {part: {"type": "string", "format": "binary"} for part in PARTS},
            }
        }
    },
}


class Adapter(BaseModel):
    """An adapter: its default version, or the one asked for."""

    name: str
    version: int
    versions: list[int]
    task: str
    labels: list[str] = Field(description="Empty for a regression.")
    metrics: dict[str, Any]
    dropped: float = Field(description="Share of what it learned that this bundle's graph doesn't carry.")
    sealed: bool = Field(description="Whether it came with the bundle.")
    at: str = Field(description="When it was added, ISO 8601.")
    in_memory: bool
    promoted: bool = Field(description="Whether it has a graph of its own.")


class Card(Adapter):
    """The same, with the whole card of its training."""

    card: dict[str, Any]


class Page(BaseModel):
    """Adapters by name; `next` is the `after` of the following page, null on the last."""

    adapters: list[Adapter]
    next: str | None


class Removed(BaseModel):
    """What is gone."""

    removed: str


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class DefaultVersion(_Body):
    """The version that the plain name means."""

    version: int = Field(ge=1)


class NewName(_Body):
    """The name it gets."""

    to: str


def routes(service: Service) -> APIRouter:
    """Reading takes an API key, if there are any; changing takes an admin key, or a server on loopback alone."""
    router = APIRouter(prefix="/v1/adapters", tags=["adapters"], responses=RESPONSES)

    async def changed(change: str, name: str, *values: Any) -> dict[str, Any]:
        """Call a method of the runtime that changes `name`; what is there afterwards."""

        def work(runtime: Runtime) -> dict[str, Any]:
            getattr(runtime, change)(name, *values)
            return dataclasses.asdict(runtime.show(values[0] if change == "rename" else name))

        return await service.at_runtime(work)

    @router.get("", summary="List adapters, by name.", response_model=Page)
    async def list_adapters(
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100, after: Annotated[str, Query(max_length=64)] = ""
    ) -> dict[str, Any]:
        def work(runtime: Runtime) -> dict[str, Any]:
            found = [info for info in runtime.list() if info.name > after]
            more = len(found) > limit
            return {
                "adapters": [dataclasses.asdict(info) for info in found[:limit]],
                "next": found[limit - 1].name if more else None,
            }

        return await service.at_runtime(work)

    @router.get("/{name}", summary="Show one, by name or name@version, with its card.", response_model=Card)
    async def show(name: str) -> dict[str, Any]:
        return dataclasses.asdict(await service.at_runtime(lambda runtime: runtime.show(name)))

    @router.post(
        "/{name}",
        summary="Add an adapter, or the next version of one; it becomes the default.",
        status_code=201,
        response_model=Adapter,
        openapi_extra={"requestBody": UPLOAD},
    )
    async def add(name: str, request: Request) -> dict[str, Any]:
        files = await _files(request)
        return dataclasses.asdict(await service.at_runtime(lambda runtime: runtime.add(files, name)))

    @router.delete("/{name}", summary="Remove an adapter with all its versions.", response_model=Removed)
    async def remove(name: str) -> dict[str, str]:
        if "@" in name:
            raise InputError(f"{name}: a version is removed at /v1/adapters/NAME/versions/VERSION")
        await service.at_runtime(lambda runtime: runtime.remove(name))
        return {"removed": name}

    @router.delete(
        "/{name}/versions/{version}", summary="Remove a version that isn't the default.", response_model=Removed
    )
    async def remove_version(name: str, version: int) -> dict[str, str]:
        await service.at_runtime(lambda runtime: runtime.remove(f"{name}@{version}"))
        return {"removed": f"{name}@{version}"}

    @router.put(
        "/{name}/default",
        summary="Point the plain name at a version.",
        response_model=Card,
        openapi_extra=described(DefaultVersion),
    )
    async def set_default(name: str, request: Request) -> dict[str, Any]:
        return await changed("set_default", name, parse(DefaultVersion, await request.body()).version)

    @router.post("/{name}/rollback", summary="Point the plain name at the version before.", response_model=Card)
    async def roll_back(name: str) -> dict[str, Any]:
        return await changed("rollback", name)

    @router.post(
        "/{name}/rename", summary="Give it another name.", response_model=Card, openapi_extra=described(NewName)
    )
    async def rename(name: str, request: Request) -> dict[str, Any]:
        return await changed("rename", name, parse(NewName, await request.body()).to)

    @router.post("/{name}/promote", summary="Give it a graph of its own, built in the background.", response_model=Card)
    async def promote(name: str) -> dict[str, Any]:
        return await changed("promote", name, PROMOTE_SECONDS)

    @router.post("/{name}/demote", summary="Let it share the swappable graph again.", response_model=Card)
    async def demote(name: str) -> dict[str, Any]:
        return await changed("demote", name)

    return router


async def _files(request: Request) -> tuple[bytes, bytes]:
    """The bytes of both parts of an upload, which the front has bounded already. Raises InputError."""
    how = f"send both files as parts of a form: curl -F {PARTS[0]}=@{PARTS[0]} -F {PARTS[1]}=@{PARTS[1]}"
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InputError(f"an adapter is uploaded as multipart/form-data; {how}")
    async with request.form(max_files=4, max_fields=4) as form:
        unknown = [name for name in form if name not in PARTS]
        if unknown or len(form.multi_items()) != len(form):
            what = f"unknown part {unknown[0][:40]!r}" if unknown else "a part is there twice"
            raise InputError(f"{what}; {how}")
        parts = [form.get(name) for name in PARTS]
        for name, part in zip(PARTS, parts, strict=True):
            if not isinstance(part, UploadFile):
                raise InputError(f"part {name}: {'is missing' if part is None else 'is no file'}; {how}")
        document, tensors = [await part.read() for part in parts if isinstance(part, UploadFile)]
    return document, tensors
