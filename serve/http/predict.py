"""POST /v1/predict: texts or images in, answers out, each row by the adapter it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError
from pydantic_core import to_json
from starlette.responses import Response

from serve.answers import Answer
from serve.errors import InputError
from serve.http.bodies import described, parse
from serve.http.errors import RESPONSES, one_line
from serve.http.exchange import Exchange
from serve.http.limits import timeout_seconds
from serve.http.pictures import FORM_BODY, from_base64, is_form, read_form
from serve.pieces import Row
from serve.service import FEW_ROWS, Service
from serve.tasks import task_of

Pair = tuple[str, str]
LARGE = 2**17  # bytes of a body that is parsed in a thread, so that it holds nobody up


FORMS = {
    "text": "a text, or a list with a text or a [first, second] pair for each row",
    "image": "an image's file in base64, or a list with one for each row",
    "adapter": "a name, or a list with a name or null for each row",
}


TIMEOUT = {
    "name": "X-Request-Timeout-Ms",
    "in": "header",
    "description": "How long the answer is of use, in milliseconds.",
    "schema": {"type": "integer", "minimum": 1},
}


class First(FailFast):
    """Tell one wrong row, however many there are; to stand in a union it needs a hash, which FailFast lacks."""

    __hash__ = object.__hash__


Rows = Annotated[list[str | Pair], First()]
Images = Annotated[list[str], First()]
Refs = Annotated[list[str | None], First()]


class PredictRequest(BaseModel):
    """One row or a list of them: `text` (a text, or a pair for an adapter that takes pairs), or `image`."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"adapter": "returns", "text": "it arrived broken"}]},
    )

    text: str | Rows | None = Field(
        default=None, description='"a text", or a list of texts or of [first, second] pairs.'
    )
    image: str | Images | None = Field(
        default=None, description="An image's file in base64 (also as a data URL), or a list of them."
    )
    adapter: str | Refs | None = Field(
        default=None,
        description='"name" or "name@3" for all rows, or a list with one a row. Default: the bundle\'s first.',
    )
    probabilities: bool = Field(default=True, description="Whether every label's probability is told.")
    top: Annotated[int, Field(ge=1)] | None = Field(default=None, description="Tell only the likeliest labels.")


class Found(BaseModel):
    """An entity: the characters from `start` to before `end` of the row's text, counted in code points."""

    label: str
    start: int
    end: int
    text: str
    score: float = Field(description="Mean probability of its words' tags.")


class Result(BaseModel):
    """One row's answer: `label`, `score`, `probabilities` of a classification, `value` of a regression, `entities` of a
    tagger."""

    adapter: str = Field(description="name@version of the adapter that answered.")
    label: str | None = None
    score: float | None = Field(default=None, description="The label's probability.")
    probabilities: dict[str, float] | None = Field(default=None, description="By label, the likeliest first.")
    value: float | None = None
    entities: list[Found] | None = Field(default=None, description="In the order of the text.")


class PredictResponse(BaseModel):
    """Answers in the order of the rows."""

    id: str = Field(description="The request's X-Request-Id, or one made for it.")
    results: list[Result]


def _described() -> dict[str, Any]:
    """Both bodies that the route takes."""
    found = described(PredictRequest, TIMEOUT)
    found["requestBody"]["content"] |= FORM_BODY
    return found


def routes(service: Service) -> APIRouter:
    """The route, reading the body itself: any content type is taken as JSON, as `curl -d` names another."""
    router = APIRouter(tags=["prediction"])

    @router.post(
        "/v1/predict",
        summary="Answer one row or many, texts or images, each by its adapter.",
        response_class=Response,
        responses={200: {"model": PredictResponse}, **RESPONSES},
        openapi_extra=_described(),
    )
    async def predict(request: Request) -> Response:
        seconds = timeout_seconds(request.headers, service.config)
        rows: Sequence[Row]
        if is_form(request):
            rows, fields = await read_form(request, service.config.max_rows)
            asked = _of_fields(fields)
        else:
            body = await request.body()
            asked, rows = read(body) if len(body) <= LARGE else await service.call(read, body)
        refs = asked.adapter if isinstance(asked.adapter, list) else [asked.adapter] * len(rows)
        answers = await service.answer(rows, refs, seconds)
        exchange: Exchange = request.scope["svfit"]

        def written() -> bytes:
            return to_json({"id": exchange.id, "results": [result(answer, asked) for answer in answers]})

        content = written() if len(answers) <= FEW_ROWS else await service.call(written)
        return Response(content, media_type="application/json")

    return router


def read(body: bytes) -> tuple[PredictRequest, Sequence[Row]]:
    """A body as a question, and its rows. Raises InputError that names the fields."""
    asked = parse(PredictRequest, body, FORMS)
    if (asked.text is None) == (asked.image is None):
        raise InputError("text, image: give one of them")
    if asked.image is not None:
        return asked, from_base64(asked.image)
    return asked, [asked.text] if isinstance(asked.text, str) else asked.text or []


def _of_fields(fields: Mapping[str, str]) -> PredictRequest:
    """A form's fields, beside its images, as a question. Raises InputError."""
    try:
        return PredictRequest.model_validate_strings(dict(fields))
    except ValidationError as error:
        raise one_line(error) from None


def result(answer: Answer, asked: PredictRequest) -> dict[str, Any]:
    """An answer as a Result in JSON, without what doesn't apply."""
    return {"adapter": answer.adapter, **task_of(answer.task).told(answer, asked.top, asked.probabilities)}
