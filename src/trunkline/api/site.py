"""The routes beside inference: health, models, the OpenAPI document and its page."""

import functools
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from trunkline.access.grant import Grant
from trunkline.call import make_request_id
from trunkline.errors import GatewayError
from trunkline.wire.failure import write_failure, write_failure_headers

Probe = Callable[[], Awaitable[dict[str, str]]]
Admit = Callable[[dict[bytes, bytes]], Awaitable[Grant]]


class Site:
    """A Starlette application; it never sees an inference route.

    Args:
        admit: says who is calling.
        list_models: the public names that would be answered.
        probe: what keeps the gateway from serving: a reason by name, empty when ready.
    """

    def __init__(
        self, admit: Admit, list_models: Callable[[], Sequence[str]], probe: Probe
    ) -> None:
        self._admit = admit
        self._list_models = list_models
        self._probe = probe
        self.app = Starlette(
            routes=[
                Route("/livez", self._live),
                Route("/readyz", self._ready),
                Route("/v1/models", self._models),
                Route("/openapi.json", self._document),
                Route("/docs", self._page),
            ],
            exception_handlers={
                GatewayError: _answer_failure,
                HTTPException: _answer_http_exception,
            },
        )
        self.app.router.redirect_slashes = False

    async def _live(self, _request: Request) -> Response:
        return _json({"status": "ok"})

    async def _ready(self, _request: Request) -> Response:
        reasons = await self._probe()
        status = "unavailable" if reasons else "ok"
        return _json({"status": status, "reasons": reasons}, 503 if reasons else 200)

    async def _models(self, request: Request) -> Response:
        grant = await self._admit(dict(request.scope["headers"]))
        names = [name for name in self._list_models() if grant.allows_model(name)]
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "trunkline"} for name in names
        ]
        return _json({"object": "list", "data": models})

    async def _document(self, _request: Request) -> Response:
        return Response(_write_reference()[0], media_type="application/json")

    async def _page(self, _request: Request) -> Response:
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        return HTMLResponse(_write_reference()[1], headers={"content-security-policy": policy})


@functools.cache
def _write_reference() -> tuple[bytes, str]:
    """The OpenAPI document and its page, made when somebody first looks."""
    from trunkline.api.openapi import write_document  # noqa: PLC0415 - 10 ms that few need
    from trunkline.api.page import write_page  # noqa: PLC0415

    document = write_document()
    return msgspec.json.encode(document), write_page(document)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def _answer_failure(_request: Request, error: Exception) -> Response:
    if not isinstance(error, GatewayError):
        raise error
    request_id = make_request_id()
    headers = {
        name.decode(): value.decode() for name, value in write_failure_headers(error, request_id)
    }
    return Response(write_failure(error, request_id), error.status, headers)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "GET")
        message = f"{request.method} is not allowed here; send {allowed}."
        failure = GatewayError("method_not_allowed", message, param=allowed)
    else:
        shown = request.url.path[:200]
        failure = GatewayError(
            "route_not_found", f"There is no route {shown}; /docs lists those that exist."
        )
    return await _answer_failure(request, failure)
