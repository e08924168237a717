"""Images in a request: base64 in its JSON, or files in a form."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request
from starlette.datastructures import UploadFile

from serve.errors import InputError
from serve.images.spec import image_from_base64

FORM = "multipart/form-data"
FILES = "image"
FIELDS = ("adapter", "probabilities", "top")
_HOW = "send files as parts named image: curl -F image=@photo.jpg -F adapter=NAME"

FORM_BODY = {
    FORM: {
        "schema": {
            "type": "object",
            "required": [FILES],
            "properties": {
                FILES: {"type": "array", "items": {"type": "string", "format": "binary"}},
                "adapter": {"type": "string"},
                "probabilities": {"type": "boolean"},
                "top": {"type": "integer", "minimum": 1},
            },
        }
    }
}


def is_form(request: Request) -> bool:
    """Whether a request's body is a form of several parts."""
    return request.headers.get("content-type", "").startswith(FORM)


async def read_form(request: Request, most: int) -> tuple[list[bytes], dict[str, str]]:
    """The files of at most `most` parts `image`, in their order, and the other fields. The front has bounded the body.

    Raises InputError for a part that isn't known, is there twice, or is no file; where there is no image.
    """
    images: list[bytes] = []
    fields: dict[str, str] = {}
    async with request.form(max_files=most, max_fields=len(FIELDS) + 1) as form:
        for name, part in form.multi_items():
            if name == FILES and isinstance(part, UploadFile):
                images.append(await part.read())
            elif name in FIELDS and isinstance(part, str) and name not in fields:
                fields[name] = part
            else:
                what = "unknown part" if name not in (FILES, *FIELDS) else "no file, or there twice: part"
                raise InputError(f"{what} {name[:40]!r}; {_HOW}")
    if not images:
        raise InputError(f"the form holds no image; {_HOW}")
    return images, fields


def from_base64(images: str | Sequence[str]) -> list[bytes]:
    """The image files of a JSON body. Raises InputError that names the row."""
    every = [images] if isinstance(images, str) else images
    return [image_from_base64(text, f"image: row {place}") for place, text in enumerate(every, start=1)]
