"""docs/SERVER.md: the server's routes and settings, the latter written from `serve.config` (`make docs`)."""

from __future__ import annotations

import click

HEAD = """# The server

`svfit serve BUNDLE` answers on 127.0.0.1:8080 until it is told to stop (SIGTERM, Ctrl-C: it finishes what is under way
and ends with 0). `/docs` lists every route with its fields, `/openapi.json` is the same for machines.

| route | what for |
|---|---|
| `POST /v1/predict` | `text`: one, or a list of texts or pairs; `adapter`: a name, `name@3`, or one a row |
| `GET /v1/adapters`, `/v1/adapters/NAME` | names, versions, defaults, cards |
| `POST /v1/adapters/NAME` | upload a version: multipart parts `adapter.json` and `adapter.safetensors` |
| `PUT /v1/adapters/NAME/default`, `POST …/rollback`, `…/rename`, `DELETE` | which version a name means |
| `POST /v1/adapters/NAME/promote`, `…/demote` | a folded session of its own |
| `/v2/…` | Open Inference Protocol v2, binary tensors and Triton's repository routes too; gRPC with `--grpc-port` |
| `GET /v1/site`, `GET /v1/site/archive` | with `--site`: its releases, their files; the current one, packed |
| `PUT /v1/site/releases`, `POST /v1/site/rollback` | an archive becomes what answers; back to the one before |
| `GET /v1/health/live`, `/v1/health/ready`, `/metrics` | for whoever watches it |

In the Open Inference Protocol the bundle's name is a model that takes `adapter` in `parameters` (or a second input
`adapter`, one a row), and each adapter is a model of its own name, its versions the adapter's versions.

Errors are `{"error": "one line"}`: 401 and 403 for keys, 404, 409, 413 too large, 422 what can't be understood, 429
queue full and 503 starting, stopping or too late, both with `Retry-After`. A client says how long its answer is of use
with `X-Request-Timeout-Ms`, and names its request with `X-Request-Id`.

Keys: `SVFIT_API_KEY` and `SVFIT_ADMIN_KEY`, or files with one a line; sent as `Authorization: Bearer KEY` or
`X-API-Key`. Whoever changes adapters or releases, or fetches one, needs the admin key; without one, that is allowed
to this machine alone. Keys to trust (`--trust`) cover what a bundle has sealed, not adapters that are added later.

## Settings

In a TOML file's `[serve]` table (`--config`), or `--set KEY=VALUE`.

| key | default | |
|---|---|---|
"""


def page() -> str:
    """The whole document."""
    from serve.config import KEYS

    rows = [f"| `{name}` | {_shown(field.default)} | {field.metadata['description']} |" for name, field in KEYS.items()]
    return HEAD + "\n".join(rows) + "\n"


def _shown(value: object) -> str:
    if value is None or value == ():
        return "–"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


if __name__ == "__main__":
    click.echo(page(), nl=False)
