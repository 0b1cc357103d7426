"""A route of the admin API: who may, what was asked, and an answer whatever happens."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Literal
from urllib.parse import quote, unquote, unquote_to_bytes

import msgspec
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from trunkline.access.grant import Grant
from trunkline.access.roster import Roster
from trunkline.api.admin_form import read_form, read_query, refuse_fields
from trunkline.call import make_request_id
from trunkline.errors import FieldFault, GatewayError, body_too_large
from trunkline.routing.standing import Standing
from trunkline.store.database import explain_error
from trunkline.store.store import Store
from trunkline.wire.failure import write_failure, write_failure_headers

ROOT: Final = "/admin/v1"
BODY_LIMIT_BYTES: Final = 64 * 1024
THREADS: Final = 3
"""Store work at once; more waits in line, so that keys are still looked up beside it."""

Method = Literal["GET", "POST", "PATCH", "DELETE"]
Admit = Callable[[dict[bytes, bytes]], Awaitable[Grant]]
Report = Callable[[Mapping[str, str]], tuple[bytes, str]]

_JSON: Final = "application/json"
_MEMBER: Final = "This API key is a member's; the admin API takes the keys of admins only."
_AWAY: Final = "The database does not answer at the moment. Try again in a moment."
_INTERNAL: Final = "The gateway failed; its log has the cause under this request id."
_PLACE: Final = f"{ROOT}/".encode()

_log = logging.getLogger(__name__)


class Document(msgspec.Struct, frozen=True):
    """An answer that is written already: its body and its media type."""

    body: bytes
    media: str


class Ask(msgspec.Struct, frozen=True):
    """What an admin asks for: by which key, of which ids, with which query and which body.

    ``query`` and ``form`` are of the operation's own structs; where it has none, the query is a
    mapping of texts and the form None.
    """

    key_id: str
    ids: Mapping[str, str]
    query: Any
    form: Any


class AdminDesk:
    """What the admin API works with.

    Args:
        admit: says who is calling.
        store: where accounts, keys and the audit are kept; used in threads.
        roster: makes changes in the name of a key's id.
        report: the usage report of a query; used in threads.
        clock: microseconds since 1970, UTC.
        standings: how this worker's targets stand.
    """

    def __init__(
        self,
        admit: Admit,
        store: Store,
        roster: Callable[[str], Roster],
        report: Report,
        clock: Callable[[], int],
        standings: Iterable[Standing] = (),
    ) -> None:
        self.admit = admit
        self.store = store
        self.roster = roster
        self.report = report
        self.clock = clock
        self.standings = standings
        self._threads = asyncio.Semaphore(THREADS)

    async def run(self, action: "Action", ask: Ask) -> msgspec.Struct:
        """Do an action in a thread.

        Raises:
            GatewayError: ``overloaded`` when the store does not answer.
        """
        async with self._threads:
            try:
                return await asyncio.to_thread(action, self, ask)
            except (DataError, IntegrityError, ProgrammingError):
                raise  # the database is there; the fault is ours
            except SQLAlchemyError as error:
                _log.warning("the store does not answer the admin API: %s", explain_error(error))
                raise GatewayError("overloaded", _AWAY, retry_after_s=1) from None


Action = Callable[[AdminDesk, Ask], msgspec.Struct]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of a route.

    Args:
        method: of HTTP; GET answers HEAD too.
        action: does it, in a thread.
        summary: what it does, in a few words.
        about: what else there is to know of it.
        query: struct of its query; None for one that the action reads itself.
        body: struct of its body, None where there is none.
        body_needed: whether the body may not be left out.
        answer: struct of its answer, None for what the action writes itself.
        status: of the answer.
    """

    method: Method
    action: Action
    summary: str
    about: str = ""
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    body_needed: bool = True
    answer: type[msgspec.Struct] | None = None
    status: int = 200


class AdminRoute(BaseRoute):
    """One path and its operations; it is matched against the raw path.

    A part in braces takes one segment, percent-decoded: so an id may hold a slash, as ``%2F``.
    Everything else must stand there letter by letter.

    Args:
        path: the template.
        operations: those of the path.
        desk: what they work with.
    """

    def __init__(self, path: str, operations: tuple[Operation, ...], desk: AdminDesk) -> None:
        self.path = path
        self._parts = path.split("/")
        self._operations: dict[str, Operation] = {each.method: each for each in operations}
        self._desk = desk

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the request's path is this one; Starlette asks."""
        ids = self._read_ids(scope) if scope["type"] == "http" else None
        return (Match.NONE, {}) if ids is None else (Match.FULL, {"path_params": ids})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose path matches; Starlette calls."""
        request_id = make_request_id(time.time_ns())
        try:
            response = await self._serve(Request(scope, receive))
        except ClientDisconnect:
            return
        except GatewayError as error:
            response = _fail(error, request_id)
        except Exception:  # noqa: BLE001 - the last guard: a bug becomes a 500 with an id
            _log.exception("admin request %s failed inside the gateway", request_id)
            response = _fail(GatewayError("internal_error", _INTERNAL), request_id)
        response.headers["x-request-id"] = request_id
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)

    async def _serve(self, request: Request) -> Response:
        # The key first: whoever holds none learns nothing, and nothing of his is read.
        grant = await self._desk.admit(dict(request.scope["headers"]))
        if not grant.admin:
            raise GatewayError("permission_denied", _MEMBER)
        operation = self._find_operation(request.method)
        query = _read_query(operation, request)
        form = await _read_body(operation, request)
        ask = Ask(grant.key_id, request.path_params, query, form)
        answer = await self._desk.run(operation.action, ask)
        if isinstance(answer, Document):
            return Response(answer.body, operation.status, media_type=answer.media)
        return Response(msgspec.json.encode(answer), operation.status, media_type=_JSON)

    def _find_operation(self, method: str) -> Operation:
        found = self._operations.get("GET" if method == "HEAD" else method)
        if found is None:
            allowed = ", ".join(self._operations)
            raise GatewayError(
                "method_not_allowed",
                f"{method} is not allowed here; send {allowed}.",
                param=allowed,
            )
        return found

    def _read_ids(self, scope: Scope) -> dict[str, str] | None:
        raw = _find_raw(scope)
        segments = raw.split(b"/") if raw is not None else []
        if len(segments) != len(self._parts):
            return None
        ids = {}
        for part, segment in zip(self._parts, segments, strict=True):
            if not part.startswith("{"):
                if segment != part.encode():
                    return None
                continue
            try:
                ids[part[1:-1]] = unquote_to_bytes(segment).decode()
            except UnicodeDecodeError:
                return None
        return ids if all(ids.values()) else None


def _find_raw(scope: Scope) -> bytes | None:
    """The path as it was sent, from the API's root on; None when it is not below it.

    A prefix (``/public``) is taken off the decoded path only: so the rest is found as the end of
    the raw path that says the same.
    """
    path: str = scope["path"]
    sent: bytes = scope.get("raw_path") or quote(path).encode()
    raw = sent.partition(b"?")[0]
    start = raw.find(_PLACE)
    while start >= 0:
        if unquote(raw[start:].decode("latin-1")) == path:
            return raw[start:]
        start = raw.find(_PLACE, start + 1)
    return None


def _read_query(operation: Operation, request: Request) -> Any:
    pairs = request.query_params.multi_items()
    query = dict(pairs)
    if len(query) < len(pairs):
        twice = next(
            name for position, (name, _) in enumerate(pairs) if name in dict(pairs[:position])
        )
        raise refuse_fields(
            [FieldFault(("query", twice[:200]), "It is there twice", "value_error")]
        )
    return query if operation.query is None else read_query(operation.query, query)


async def _read_body(operation: Operation, request: Request) -> Any:
    if operation.body is None:
        return None
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_LIMIT_BYTES:
            raise body_too_large(BODY_LIMIT_BYTES)
    if not body and not operation.body_needed:
        return operation.body()
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != _JSON:
        raise GatewayError(
            "invalid_request",
            f"The body must be JSON: send the header content-type: {_JSON}.",
            param="content-type",
        )
    return read_form(operation.body, bytes(body))


def _fail(error: GatewayError, request_id: str) -> Response:
    headers = {
        name.decode(): value.decode() for name, value in write_failure_headers(error, request_id)
    }
    return Response(write_failure(error, request_id), error.status, headers)
