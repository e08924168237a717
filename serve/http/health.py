"""Is the process alive, and does it take requests: true to the state through start, load and drain."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from serve.http.errors import RETRY_SECONDS
from serve.service import Service


class Live(BaseModel):
    """Always true where it is answered."""

    live: bool


class Ready(BaseModel):
    """Whether the server takes requests; `state` is starting, ready or draining."""

    ready: bool
    state: str


def routes(service: Service) -> APIRouter:
    """GET /v1/health/live and /v1/health/ready; neither needs a key."""
    router = APIRouter(prefix="/v1/health", tags=["operation"])

    @router.get("/live", summary="200 while the process runs.", response_model=Live)
    async def live() -> Response:
        return JSONResponse({"live": True})

    @router.get(
        "/ready",
        summary="200 while it takes requests, else 503.",
        response_model=Ready,
        responses={503: {"model": Ready, "description": "Loading or stopping."}},
    )
    async def ready() -> Response:
        is_ready = service.state == "ready"
        headers = {} if is_ready else {"retry-after": str(RETRY_SECONDS)}
        return JSONResponse({"ready": is_ready, "state": service.state}, 200 if is_ready else 503, headers)

    return router
