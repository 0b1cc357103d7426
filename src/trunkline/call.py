"""A call: one client request on its way through the gateway."""

import random

import msgspec


class Deadlines(msgspec.Struct, frozen=True):
    """How long each part of an attempt may take, in seconds."""

    connect_s: float = 5
    first_token_s: float = 60
    idle_s: float = 60
    total_s: float = 600


class Call(msgspec.Struct):
    """What the gateway knows of one client request while it serves it; changes as it goes.

    Args:
        id: the request id that the client sees.
        started_ns: monotonic clock at the first look at the request.
        upstream_ns: time spent waiting for upstreams so far.
        attempts: tries at targets so far.
        target: ``provider/model`` of the newest attempt, "" before the first.
        changes: what was changed for that target.
    """

    id: str
    started_ns: int
    upstream_ns: int = 0
    attempts: int = 0
    target: str = ""
    changes: list[str] = []


def make_request_id() -> str:
    """A new request id: not secret, never used again."""
    return "req_" + random.getrandbits(96).to_bytes(12, "big").hex()
