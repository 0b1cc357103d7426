"""The routes beside inference: health, models, the admin API, the OpenAPI document and its page."""

import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from trunkline.access.grant import Grant
from trunkline.api.admin import list_admin_routes
from trunkline.api.admin_route import AdminDesk
from trunkline.call import make_request_id
from trunkline.errors import GatewayError
from trunkline.wire.failure import write_failure, write_failure_headers

Probe = Callable[[], Awaitable["Health"]]
_METRICS: Final = (
    "Metrics are shown to admin keys; set server.metrics_open to show them to everybody."
)
Admit = Callable[[dict[bytes, bytes]], Awaitable[Grant]]


class Health(msgspec.Struct, frozen=True):
    """How the gateway is: what keeps it from serving, and what works only for now, by part."""

    faults: dict[str, str] = {}
    warnings: dict[str, str] = {}


class Site:
    """A Starlette application; it never sees an inference route.

    Args:
        admit: says who is calling.
        list_models: the public names that would be answered.
        probe: says how the gateway is.
        measure: writes the metrics.
        metrics_open: whether they are shown to everybody; else to admins.
        admin: what the admin API works with; without it there are no routes below /admin.
    """

    def __init__(
        self,
        admit: Admit,
        list_models: Callable[[], Sequence[str]],
        probe: Probe,
        admin: AdminDesk | None = None,
        *,
        measure: Callable[[], bytes] | None = None,
        metrics_open: bool = False,
    ) -> None:
        self._admit = admit
        self._list_models = list_models
        self._probe = probe
        self._measure = measure
        self._metrics_open = metrics_open
        self.app = Starlette(
            routes=[
                Route("/livez", self._live),
                Route("/readyz", self._ready),
                Route("/v1/models", self._models),
                *([] if measure is None else [Route("/metrics", self._metrics)]),
                Route("/openapi.json", self._document),
                Route("/docs", self._page),
                *([] if admin is None else list_admin_routes(admin)),
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
        health = await self._probe()
        status = "unavailable" if health.faults else "degraded" if health.warnings else "ok"
        reasons = health.faults | health.warnings
        return _json({"status": status, "reasons": reasons}, 503 if health.faults else 200)

    async def _metrics(self, request: Request) -> Response:
        if not self._metrics_open:
            grant = await self._admit(dict(request.scope["headers"]))
            if not grant.admin:
                raise GatewayError("permission_denied", _METRICS)
        body = b"" if self._measure is None else self._measure()
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")

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
    request_id = make_request_id(time.time_ns())
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
