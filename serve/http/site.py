"""/v1/site: the releases of a server that has a site; how one comes, and how the one before answers again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any, BinaryIO

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from serve.errors import NotFound
from serve.http.errors import RESPONSES
from serve.http.uploads import NO_SITE, Upload
from serve.service import Service
from serve.site.history import Entry
from serve.site.switch import Switch, Switched

ARCHIVE = "application/zip"
BLOCK = 2**18
BODY = {"required": True, "content": {ARCHIVE: {"schema": {"type": "string", "format": "binary"}}}}


class Release(BaseModel):
    """A release of the site."""

    release: str = Field(description="The manifest_sha256 of its bundle.")
    name: str
    at: str = Field(description="When it was installed, ISO 8601.")


class SiteInfo(BaseModel):
    """The site's releases, newest first; those before the current one were rolled back from."""

    current: str = Field(description="The release that answers.")
    releases: list[Release]
    keep: int = Field(description="How many it keeps.")
    files: list[str] = Field(description="The sha256 of every file here, which an archive may leave out.")


class Change(BaseModel):
    """Which release answers now."""

    current: Release
    before: Release
    changed: bool = Field(description="False where it answered already.")
    remark: str = Field(description="What became of adapters that came later; empty where there were none.")


def routes(service: Service) -> APIRouter:
    """All of it takes an admin key, or a server on loopback alone."""
    conflict = {**RESPONSES[404], "description": "There is no release before this one."}
    router = APIRouter(prefix="/v1/site", tags=["site"], responses=RESPONSES)

    def site() -> Switch:
        if service.site is None:
            raise NotFound(NO_SITE)
        return service.site

    @router.get("", summary="The releases, and the files they have.", response_model=SiteInfo)
    async def read_site() -> dict[str, Any]:
        switch = site()
        files = await switch.files()
        history = switch.history
        return {
            "current": "" if history.now is None else history.now.release,
            "releases": [_release(entry) for entry in history.entries],
            "keep": service.config.site_keep,
            "files": files,
        }

    @router.put(
        "/releases",
        summary="Install an archive of `svfit pack`, whole or a delta, and answer with it.",
        response_model=Change,
        openapi_extra={"requestBody": BODY},
    )
    async def install(request: Request) -> dict[str, Any]:
        switch = site()
        upload: Upload = request.scope["svfit.upload"]
        return _change(await switch.install(upload.take()))

    @router.post(
        "/rollback",
        summary="Answer with the release before.",
        response_model=Change,
        responses={409: conflict},
    )
    async def roll_back() -> dict[str, Any]:
        return _change(await site().roll_back())

    @router.get(
        "/archive",
        summary="The current release as an archive.",
        response_class=Response,
        responses={200: {"content": {ARCHIVE: {}}}},
    )
    async def archive() -> Response:
        handle, size = await site().packed()
        return StreamingResponse(_blocks(handle), media_type=ARCHIVE, headers={"content-length": str(size)})

    return router


def _release(entry: Entry) -> dict[str, str]:
    return {key: value for key, value in asdict(entry).items() if key != "state"}


def _change(switched: Switched) -> dict[str, Any]:
    return {
        "current": _release(switched.current),
        "before": _release(switched.before),
        "changed": switched.changed,
        "remark": switched.remark,
    }


async def _blocks(handle: BinaryIO) -> AsyncIterator[bytes]:
    with handle:
        while data := await asyncio.to_thread(handle.read, BLOCK):
            yield data
