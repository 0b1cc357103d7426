"""Lets tools outside drive a running mock: what it has served, and another script."""

from ipaddress import ip_address
from typing import Final, Protocol
from urllib.parse import parse_qs

import msgspec

from trunkline.errors import GatewayError
from trunkline.mock.behaviour import Planned, Served
from trunkline.mock.connection import Request
from trunkline.mock.part import Head
from trunkline.mock.script import Script, make_plan
from trunkline.mock.voice import encode

CONTROL: Final = "/__mock__/"
_JSON: Final = msgspec.json.Decoder(Script)


class Controlled(Protocol):
    """What a tool may look at and change."""

    plan: Planned
    served: list[Served]
    seed: int
    pace_s: float


def answer_control(mock: Controlled, request: Request, host: str) -> bytes:
    """The answer to a request under ``/__mock__/``; only this machine is answered.

    ``GET /__mock__/served`` gives what was served, ``?after=N`` only numbers above N;
    ``POST /__mock__/plan`` takes a script as JSON, whose rules replace the present ones.
    """
    path, _, query = request.target.partition("?")
    if not _is_loopback(host):
        return _write(403, {"error": "Only clients on this machine may control the mock."})
    if (request.method, path) == ("GET", f"{CONTROL}served"):
        after = (parse_qs(query).get("after") or ["0"])[0]
        if not after.isdecimal():
            return _write(400, {"error": "after: expected a number"})
        later = [each for each in mock.served if each.number > int(after)]
        return _write(200, {"served": later})
    if (request.method, path) == ("POST", f"{CONTROL}plan"):
        return _replace_plan(mock, request.body)
    return _write(404, {"error": f"Known: GET {CONTROL}served, POST {CONTROL}plan."})


def _replace_plan(mock: Controlled, body: bytes) -> bytes:
    try:
        script = _JSON.decode(body)
        plan = make_plan(script)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return _write(400, {"error": str(error)})
    except GatewayError as error:
        return _write(400, {"error": error.message})
    mock.plan = plan
    if script.seed is not None:
        mock.seed = script.seed
    if script.pace_s is not None:
        mock.pace_s = script.pace_s
    return _write(200, {"rules": len(script.rules)})


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _write(status: int, value: object) -> bytes:
    body = encode(value)
    return Head(status, length=len(body)).write() + body
