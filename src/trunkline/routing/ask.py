"""What a fit works with besides request and target, and what comes out of it."""

from urllib.parse import quote

import msgspec

from trunkline.chat import ChatRequest, TextRequest
from trunkline.errors import GatewayError
from trunkline.routing.table import Operation, Row
from trunkline.wire.change import Changes
from trunkline.wire.mend import Stamp
from trunkline.wire.reply import Pair

Request = ChatRequest | TextRequest
FAN_LIMIT = 16
"""Alternatives of one call at an upstream without ``n``: each is a request of its own."""


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One attempt: what the reply is stamped with, and where changes are noted."""

    stamp: Stamp
    changes: Changes


class Fitted(msgspec.Struct, frozen=True, gc=False):
    """The pairs of formats for one attempt: one, or as many as alternatives are fanned out."""

    pairs: tuple[Pair, ...]


def choose_path(row: Row, operation: Operation, default: str, model: str) -> str:
    """Where a row takes an operation, the model's name put in where the path asks for it."""
    path = row.paths.get(operation)
    return path.replace("{model}", quote(model, safe="")) if path else default


def require_operation(row: Row, operation: Operation, model: str) -> None:
    """Raises ``invalid_request`` where the target has no such operation."""
    if operation not in row.serves:
        raise refuse_operation(operation, model)


def refuse_operation(operation: Operation, model: str) -> GatewayError:
    """What is told of an operation that no target of a model has."""
    what = {"chat": "chat", "text": "text completions", "embeddings": "embeddings"}
    return GatewayError(
        "invalid_request", f"Model '{model}' serves no {what[operation]}.", param="model"
    )


def check_copies(count: int) -> int:
    """The number of requests that ``n`` alternatives need; raises ``invalid_request``."""
    if count > FAN_LIMIT:
        raise GatewayError(
            "invalid_request",
            f"'n' allows at most {FAN_LIMIT} at this target, got {count}.",
            param="n",
        )
    return max(count, 1)
