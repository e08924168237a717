"""JSON bodies read by the routes themselves: whatever the content type says, as `curl -d` names a form."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from serve.errors import InputError
from serve.http.errors import one_line

Model = TypeVar("Model", bound=BaseModel)


def described(model: type[BaseModel], *parameters: dict[str, Any]) -> dict[str, Any]:
    """For the `openapi_extra` of a route whose body is such a model."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"requestBody": body, **({"parameters": list(parameters)} if parameters else {})}


def parse(model: type[Model], body: bytes, forms: dict[str, str] | None = None) -> Model:
    """A body as a model. `forms` says what fields that are unions must be, where pydantic would tell every member.

    Raises InputError that names the fields.
    """
    if not body:
        raise InputError(f"the body is empty; send a JSON object with {', '.join(model.model_fields)}")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        unknown = [str(item["loc"][0]) for item in error.errors() if item["type"] == "extra_forbidden"]
        if unknown:
            near = difflib.get_close_matches(unknown[0], model.model_fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(model.model_fields)}"
            raise InputError(f"{unknown[0][:80]}: unknown key; {hint}") from None
        places = [item["loc"] for item in error.errors() if item["type"] != "missing"]
        wrong = {place[0]: [part for part in place[1:] if isinstance(part, int)] for place in places if place}
        for field in (forms or {}).keys() & wrong.keys():
            row = f"row {wrong[field][0] + 1} is none of it" if wrong[field] else "it is none of it"
            raise InputError(f"{field}: must be {(forms or {})[str(field)]}; {row}") from None
        raise one_line(error) from None
