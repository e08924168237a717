"""GRPCInferenceService: each call, what access it needs, and what it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from serve.errors import NotFound
from serve.oip import infer, models, repository
from serve.rpc import convert
from serve.rpc import inference_pb2 as pb
from serve.service import Service

SMALL = 64 * 2**10
"""Bytes of a request that is read at once, without a thread: some tenths of a millisecond."""


@dataclass(frozen=True, slots=True)
class Method:
    """One call, what it takes and gives, the `Servicer` method that answers it, and the key that it needs."""

    request: Any
    response: Any
    answer: Callable[[Servicer, Any, float | None], Awaitable[Any]]
    key: Literal["none", "user", "admin"] = "user"


class Servicer:
    """Answers each call: `request`, and `seconds`, what is left of the caller's deadline (None: it set none).

    All raise what their part of the core raises (serve.infer.infer, serve.oip.models, serve.oip.repository).
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def live(self, request: pb.ServerLiveRequest, seconds: float | None) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ready(self, request: pb.ServerReadyRequest, seconds: float | None) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._service.state == "ready")

    async def model_ready(self, request: pb.ModelReadyRequest, seconds: float | None) -> pb.ModelReadyResponse:
        try:
            ready = await models.is_ready(self._service, request.name, request.version)
        except NotFound:
            ready = False
        return pb.ModelReadyResponse(ready=ready)

    async def server(self, request: pb.ServerMetadataRequest, seconds: float | None) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(**asdict(models.server_metadata()))

    async def model(self, request: pb.ModelMetadataRequest, seconds: float | None) -> pb.ModelMetadataResponse:
        return convert.model_metadata(await models.model_metadata(self._service, request.name, request.version))

    async def infer(self, request: pb.ModelInferRequest, seconds: float | None) -> pb.ModelInferResponse:
        service = self._service
        service.admit()
        if request.ByteSize() > SMALL:
            asked = await service.call(convert.infer_request, request)
        else:
            asked = convert.infer_request(request)
        return convert.infer_response(await infer.infer(service, asked, seconds))

    async def index(self, request: pb.RepositoryIndexRequest, seconds: float | None) -> pb.RepositoryIndexResponse:
        response = pb.RepositoryIndexResponse()
        for entry in await repository.index(self._service):
            response.models.add(**asdict(entry))
        return response

    async def load(
        self, request: pb.RepositoryModelLoadRequest, seconds: float | None
    ) -> pb.RepositoryModelLoadResponse:
        self._service.admit()
        await repository.load(self._service, request.model_name, convert.parameters(request.parameters))
        return pb.RepositoryModelLoadResponse()

    async def unload(
        self, request: pb.RepositoryModelUnloadRequest, seconds: float | None
    ) -> pb.RepositoryModelUnloadResponse:
        self._service.admit()
        await repository.unload(self._service, request.model_name)
        return pb.RepositoryModelUnloadResponse()


METHODS = {
    "ServerLive": Method(pb.ServerLiveRequest, pb.ServerLiveResponse, Servicer.live, "none"),
    "ServerReady": Method(pb.ServerReadyRequest, pb.ServerReadyResponse, Servicer.ready, "none"),
    "ModelReady": Method(pb.ModelReadyRequest, pb.ModelReadyResponse, Servicer.model_ready),
    "ServerMetadata": Method(pb.ServerMetadataRequest, pb.ServerMetadataResponse, Servicer.server),
    "ModelMetadata": Method(pb.ModelMetadataRequest, pb.ModelMetadataResponse, Servicer.model),
    "ModelInfer": Method(pb.ModelInferRequest, pb.ModelInferResponse, Servicer.infer),
    "RepositoryIndex": Method(pb.RepositoryIndexRequest, pb.RepositoryIndexResponse, Servicer.index),
    "RepositoryModelLoad": Method(
        pb.RepositoryModelLoadRequest, pb.RepositoryModelLoadResponse, Servicer.load, "admin"
    ),
    "RepositoryModelUnload": Method(
        pb.RepositoryModelUnloadRequest, pb.RepositoryModelUnloadResponse, Servicer.unload, "admin"
    ),
}
