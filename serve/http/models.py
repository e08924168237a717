"""GET /v1/models as OpenAI's: what a request to /v1/embeddings may name."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from serve.errors import NotFound
from serve.http.dialects import OPENAI_ERROR, OPENAI_MODELS, error_schemas
from serve.http.embeddings import TASK
from serve.http.protocol import ProtocolRoute
from serve.runtime import Runtime
from serve.service import Service


class Model(BaseModel):
    """An adapter that gives embeddings, or the bundle's name, which stands for the first of them."""

    id: str
    object: Literal["model"]
    created: int = Field(description="When it was added, seconds since 1970.")
    owned_by: str


class Models(BaseModel):
    """By name, the bundle's own first."""

    object: Literal["list"]
    data: list[Model]


def routes(service: Service) -> APIRouter:
    """The list, and one of it; errors are in OpenAI's form (see `dialects`)."""
    router = APIRouter(
        prefix=OPENAI_MODELS, tags=["embeddings"], route_class=ProtocolRoute, responses=error_schemas(OPENAI_ERROR, 400)
    )

    @router.get("", summary="List the models that give embeddings, as OpenAI's API does.", response_model=Models)
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": await service.at_runtime(models)}

    @router.get("/{name}", summary="Show one of them.", response_model=Model)
    async def show_model(name: str) -> dict[str, Any]:
        found = await service.at_runtime(models)
        for one in found:
            if one["id"] == name:
                return one
        known = ", ".join(one["id"] for one in found[:10]) or "none"
        raise NotFound(f"no model {name[:64]!r} gives embeddings here; available: {known}")

    return router


def models(runtime: Runtime) -> list[dict[str, Any]]:
    """OpenAI's documents of the adapters that embed, and of the bundle where there are any."""
    embedders = [info for info in runtime.list() if info.task == TASK]
    bundle = runtime.bundle.manifest.name
    names = [(bundle, embedders[0])] if embedders else []
    names += [(info.name, info) for info in embedders if info.name != bundle]
    return [
        {
            "id": name,
            "object": "model",
            "created": _seconds(info.at),
            "owned_by": "svfit",
        }
        for name, info in names
    ]


def _seconds(at: str) -> int:
    """0 for what is no time: a bundle's file may say anything."""
    try:
        return max(0, int(datetime.fromisoformat(at).timestamp()))
    except (ValueError, OverflowError):
        return 0
