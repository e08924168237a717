"""POST /v1/embeddings as OpenAI's, and POST /embed as text-embeddings-inference's: texts in, vectors out."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from serve.answers import Answer
from serve.errors import InputError, NotFound
from serve.http.bodies import described, parse
from serve.http.dialects import OPENAI_ERROR, OPENAI_PATH, TEI_ERROR, TEI_PATH, error_schemas
from serve.http.limits import timeout_seconds
from serve.http.predict import LARGE, TIMEOUT, First
from serve.http.protocol import ProtocolRoute
from serve.runtime import Runtime
from serve.service import FEW_ROWS, Service

Vector = NDArray[np.float32]
Model = TypeVar("Model", bound=BaseModel)
TASK = "text-embedding"
SMALLEST = 1e-12  # what a vector of length 0 is divided by
Texts = Annotated[list[str], First()]
FORMS = dict.fromkeys(("input", "inputs"), "a text, or a list of texts; token ids aren't taken")


class EmbeddingsRequest(BaseModel):
    """A text, or a list of them, for one model: a bundle's name, or that of an adapter that gives embeddings."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"model": "faq", "input": ["where is my card?", "it never arrived"]}]},
    )

    input: str | Texts = Field(description="A text, or a list of texts.")
    model: str = Field(min_length=1, description='An adapter, "name" or "name@3", or the bundle\'s name.')
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="base64: of the float32 numbers, little-endian."
    )
    dimensions: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Keep so many of the first numbers, and make the vector of length 1 again."
    )
    user: str | None = Field(default=None, description="Taken, and not looked at.")


class Embedding(BaseModel):
    """One text's vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens of all texts, as the model read them."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """Vectors in the order of the texts; `model` is the adapter that gave them, as name@version."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class EmbedRequest(BaseModel):
    """A text, or a list of them."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"inputs": "where is my card?"}]}
    )

    inputs: str | Texts = Field(description="A text, or a list of texts.")
    truncate: bool | None = Field(
        default=None, description="False: refuse a text that is longer than the model takes, else cut it."
    )
    truncation_direction: Literal["Right", "right"] = Field(default="Right", description="Texts are cut at their end.")
    normalize: Literal[True] = Field(default=True, description="Vectors are of length 1; no others can be had.")
    prompt_name: None = Field(default=None, description="There are no prompts; write yours into the text.")
    dimensions: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Keep so many of the first numbers, and make the vector of length 1 again."
    )


def routes(service: Service) -> APIRouter:
    """Both routes; their errors are in the form of each (see `dialects`)."""
    router = APIRouter(tags=["embeddings"])

    async def vectors(request: Request, rows: list[str], ref: str | None) -> list[Answer]:
        seconds = timeout_seconds(request.headers, service.config)
        return await service.answer(rows, [ref] * len(rows), seconds)

    async def written(rows: int, content: Callable[[], bytes]) -> Response:
        body = content() if rows <= FEW_ROWS else await service.call(content)
        return Response(body, media_type="application/json")

    @router.post(
        TEI_PATH,
        summary="Embed one text or many, as text-embeddings-inference does.",
        response_class=Response,
        responses={200: {"model": list[list[float]]}, **error_schemas(TEI_ERROR, 422)},
        openapi_extra=described(EmbedRequest, TIMEOUT),
    )
    async def embed(request: Request) -> Response:
        asked = await _read(service, EmbedRequest, await request.body())
        rows = checked("inputs", asked.inputs)
        answers = await vectors(request, rows, await embedder(service))
        if asked.truncate is False:
            await service.call(check_whole, service.runtime, rows, answers)
        return await written(
            len(answers), lambda: to_json([one.tolist() for one in shortened(answers, asked.dimensions)])
        )

    openai = APIRouter(tags=["embeddings"], route_class=ProtocolRoute)

    @openai.post(
        OPENAI_PATH,
        summary="Embed one text or many, as OpenAI's API does.",
        response_class=Response,
        responses={200: {"model": EmbeddingsResponse}, **error_schemas(OPENAI_ERROR, 400)},
        openapi_extra=described(EmbeddingsRequest, TIMEOUT),
    )
    async def embeddings(request: Request) -> Response:
        asked = await _read(service, EmbeddingsRequest, await request.body())
        rows = checked("input", asked.input)
        bundle = service.runtime.bundle.manifest.name
        answers = await vectors(request, rows, await embedder(service) if asked.model == bundle else asked.model)
        return await written(len(rows), lambda: to_json(document(answers, asked)))

    router.include_router(openai)
    return router


async def embedder(service: Service) -> str | None:
    """The adapter of a bundle that embeds where none is named: the default (None), or the first by name that does.

    Raises NotFound where none does.
    """

    def find(runtime: Runtime) -> str | None:
        if runtime.pin(None).loaded.task == TASK:
            return None
        for info in runtime.list():
            if info.task == TASK:
                return info.name
        raise NotFound(f"no adapter of {runtime.bundle.manifest.name} gives embeddings; ask it at /v1/predict")

    return await service.at_runtime(find)


def checked(field: str, given: str | list[str]) -> list[str]:
    """The texts of a request. Raises InputError for none, and for an empty one."""
    rows = [given] if isinstance(given, str) else given
    if not rows:
        raise InputError(f"{field}: must hold at least one text")
    if not all(rows):
        raise InputError(f"{field}: text {rows.index('') + 1} is empty")
    return rows


def check_whole(runtime: Runtime, rows: Sequence[str], answers: Sequence[Answer]) -> None:
    """Raise InputError for a text of which only a part was read."""
    for place, (row, answer) in enumerate(zip(rows, answers, strict=True), 1):
        whole = runtime.whole_length(row)
        if whole > answer.tokens:
            raise InputError(
                f"inputs: text {place} has {whole} tokens, {answer.adapter} reads {answer.tokens} of them; "
                "leave truncate out to have it cut"
            )


def shortened(answers: Sequence[Answer], dimensions: int | None) -> list[Vector]:
    """The answers' vectors, each cut to its first `dimensions` and made of length 1 again, float32 (dimensions,).

    Raises InputError for an adapter of another task, and for more dimensions than there are.
    """
    found = []
    for answer in answers:
        vector = answer.embedding
        if vector is None:
            raise InputError(f"model: {answer.adapter} gives no embeddings; ask it at /v1/predict")
        if dimensions is not None:
            if dimensions > len(vector):
                raise InputError(f"dimensions: the vectors of {answer.adapter} have {len(vector)} (got {dimensions})")
            vector = vector[:dimensions]
            vector = vector / max(float(np.linalg.norm(vector)), SMALLEST)
        found.append(vector.astype(np.float32, copy=False))
    return found


def document(answers: Sequence[Answer], asked: EmbeddingsRequest) -> dict[str, Any]:
    """OpenAI's answer, ready for JSON."""
    tokens = sum(answer.tokens for answer in answers)
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": place,
                "embedding": vector.tolist() if asked.encoding_format == "float" else encoded(vector),
            }
            for place, vector in enumerate(shortened(answers, asked.dimensions))
        ],
        "model": answers[0].adapter,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def encoded(vector: Vector) -> str:
    """base64 of the float32 numbers, little-endian."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


async def _read(service: Service, model: type[Model], body: bytes) -> Model:
    if len(body) > LARGE:
        return await service.call(parse, model, body, FORMS)
    return parse(model, body, FORMS)
