"""/docs: openapi.json as one page of plain HTML that fetches nothing from anywhere."""

from __future__ import annotations

import html
import json
from typing import Any

from fastapi import FastAPI
from starlette.responses import HTMLResponse

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1d21 }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem } a { color: #0b57a4 }
details { border: 1px solid #d5d9de; border-radius: 6px; margin: .5rem 0; padding: .5rem .8rem }
summary { cursor: pointer } code, pre { font-family: ui-monospace, monospace; font-size: .9em }
pre { background: #f4f5f7; padding: .7rem; overflow-x: auto; border-radius: 4px }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700 } .about { color: #50575f }
@media (prefers-color-scheme: dark) {
  body { background: #16181b; color: #e4e6e9 } a { color: #7db7f0 }
  pre { background: #22262b } details { border-color: #3a4048 } .about { color: #a3abb5 }
}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def add_docs(app: FastAPI) -> None:
    """Serve the page; it is built from the application's own openapi.json."""
    made: list[str] = []

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        if not made:
            made.append(page(app.openapi()))
        return HTMLResponse(made[0], headers={"content-security-policy": POLICY})


def page(document: dict[str, Any]) -> str:
    """An OpenAPI document as HTML: routes by tag, what each takes and answers."""
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append(_operation(method, path, operation, document))
    sections = "".join(f"<h2>{_text(tag)}</h2>{''.join(parts)}" for tag, parts in groups.items())
    info = document["info"]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{_text(info['title'])}</h1>"
        f'<p class="about">{_text(info.get("description", ""))} Version {_text(info["version"])}; for machines: '
        f'<a href="openapi.json">openapi.json</a></p>{sections}</body></html>'
    )


def _operation(method: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    parts = [f"<p>{_text(operation['description'])}</p>"] if operation.get("description") else []
    for parameter in operation.get("parameters", []):
        needed = "" if parameter.get("required") else ", optional"
        kind = _shape(parameter.get("schema", {}), document)
        place = _text(f"({parameter['in']}{needed}, {_json(kind)}) {parameter.get('description', '')}")
        parts.append(f"<p><code>{_text(parameter['name'])}</code> {place}</p>")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(_schema(f"takes {media}", content.get("schema", {}), document))
    for status, response in operation.get("responses", {}).items():
        title = f"{status}: {response.get('description', '')}"
        schemas = [content["schema"] for content in response.get("content", {}).values() if content.get("schema")]
        if schemas and status.startswith("2"):
            parts.append(_schema(title, schemas[0], document))
        else:
            parts.append(f"<p>{_text(title)}</p>")
    head = f'<span class="method">{_text(method.upper())}</span> <code>{_text(path)}</code>'
    about = _text(operation.get("summary", ""))
    return f'<details><summary>{head} <span class="about">{about}</span></summary>{"".join(parts)}</details>'


def _schema(title: str, schema: dict[str, Any], document: dict[str, Any]) -> str:
    return f"<p>{_text(title)}</p><pre>{_text(_json(_shape(schema, document), indent=2))}</pre>"


def _shape(schema: dict[str, Any], document: dict[str, Any], depth: int = 0) -> Any:
    """A schema as an example-like value: objects by key, lists by their item, else the kind with what it is for."""
    if "$ref" in schema:
        found = document.get("components", {}).get("schemas", {}).get(schema["$ref"].rpartition("/")[2], {})
        return _shape(found, document, depth + 1) if depth < 8 else "…"
    if "anyOf" in schema:
        kinds = [_shape(one, document, depth) for one in schema["anyOf"]]
        joined = " or ".join(kind if isinstance(kind, str) else _json(kind) for kind in kinds)
        return _described(joined, schema)
    if "properties" in schema:
        return {name: _shape(one, document, depth) for name, one in schema["properties"].items()}
    if "prefixItems" in schema:
        return [_shape(one, document, depth) for one in schema["prefixItems"]]
    if schema.get("type") == "array":
        return [_shape(schema.get("items", {}), document, depth)]
    return _described(str(schema.get("type", "anything")), schema)


def _described(kind: str, schema: dict[str, Any]) -> str:
    return f"{kind}: {schema['description']}" if schema.get("description") else kind


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _text(value: str) -> str:
    return html.escape(value)
