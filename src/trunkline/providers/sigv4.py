"""AWS Signature Version 4: proves with a secret key that a request is ours. Pure.

The rules are those of AWS's published test suite (awslabs/aws-c-auth, tests/
aws-signing-test-suite, read 2026-11-22) for every service but S3: the path is normalised and
encoded once more, whatever it looks like on the wire.
"""

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final
from urllib.parse import quote

import msgspec

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_END: Final = "aws4_request"


class Credentials(msgspec.Struct, frozen=True):
    """A key pair; ``session_token`` is "" for one that does not end."""

    access_key: str
    secret_key: str
    session_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.access_key!r}, ...)"


class Scope(msgspec.Struct, frozen=True):
    """What a signature is good for: ``us-east-1`` and ``bedrock``, say."""

    region: str
    service: str


class Request(msgspec.Struct, frozen=True):
    """A request as it goes out.

    Args:
        path: as in the request line, already encoded there: ``/model/a%3A0/converse``.
        query: what stands behind the question mark, already encoded, or "".
        headers: those to sign; ``host`` must be among them. Names may repeat.
    """

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes = b""
    query: str = ""


def sign(request: Request, credentials: Credentials, scope: Scope, at: datetime) -> bytes:
    """The header lines to add: the date, the session token if there is one, the signature.

    Args:
        request: what is signed.
        credentials: whose signature it is.
        scope: where it counts.
        at: the present time, with its zone; the signature counts for five minutes around it.
    """
    stamp = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    date = stamp[:8]
    added = [("x-amz-date", stamp)]
    if credentials.session_token:
        added.append(("x-amz-security-token", credentials.session_token))
    text, names = _write_canonical(request, [*request.headers, *added])
    place = f"{date}/{scope.region}/{scope.service}/{_END}"
    to_sign = f"{_ALGORITHM}\n{stamp}\n{place}\n{sha256(text.encode()).hexdigest()}"
    key = _derive_key(credentials.secret_key, date, scope)
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    credential = f"Credential={credentials.access_key}/{place}"
    value = f"{_ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}"
    lines = [*added, ("authorization", value)]
    return "".join(f"{name}: {value}\r\n" for name, value in lines).encode("ascii")


def normalise_path(path: str) -> str:
    """The canonical path of an encoded one: no ``.``, ``..`` or double slash, encoded again."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    end = "/" if kept and path.endswith("/") else ""
    return quote(f"/{'/'.join(kept)}{end}", safe="/~")


def _write_canonical(request: Request, headers: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The request in its canonical form, and the names of the headers in it."""
    fields: dict[str, list[str]] = {}
    for name, value in headers:
        fields.setdefault(name.lower(), []).append(" ".join(value.split()))
    names = ";".join(sorted(fields))
    pairs = sorted(pair.partition("=")[::2] for pair in request.query.split("&") if pair)
    text = "\n".join(
        [
            request.method,
            normalise_path(request.path),
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{','.join(fields[name])}" for name in sorted(fields)),
            "",
            names,
            sha256(request.body).hexdigest(),
        ]
    )
    return text, names


@lru_cache(maxsize=16)  # the same for a day, and a third of a signature's cost
def _derive_key(secret_key: str, date: str, scope: Scope) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in (date, scope.region, scope.service, _END):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
