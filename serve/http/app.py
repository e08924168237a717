"""The application: every route behind one front."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from serve.http import adapters, embeddings, errors, health, metrics, models, oip, predict, site
from serve.http.dialects import Dialects
from serve.http.docs import add_docs
from serve.http.front import Front
from serve.http.logs import Log
from serve.service import Service


def create_app(service: Service, *, log: Log | None = None) -> FastAPI:
    """A service's routes as an ASGI application, with metrics in a registry of its own (`app.state.metrics`)."""
    app = FastAPI(
        title="svfit",
        description="Many tasks on one resident model.",
        version=version("svfit"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    numbers = metrics.PrometheusMetrics(service.config.metrics_labels)
    numbers.watch(service)
    service.metrics = app.state.metrics = numbers
    for part in (predict, embeddings, models, adapters, site, health):
        app.include_router(part.routes(service))
    oip.add_routes(app, service)
    app.include_router(metrics.routes(numbers))
    add_docs(app)
    errors.install(app)
    app.add_middleware(Front, service=service, metrics=numbers, log=log or Log(service.config.log))
    app.add_middleware(Dialects)
    if service.config.cors_origins:
        app.add_middleware(  # outermost, so that errors carry its headers too
            CORSMiddleware,
            allow_origins=list(service.config.cors_origins),
            allow_methods=["*"],
            allow_headers=["authorization", "content-type", "x-api-key", "x-request-id", "x-request-timeout-ms"],
            expose_headers=["x-request-id", "retry-after"],
        )
    return app
