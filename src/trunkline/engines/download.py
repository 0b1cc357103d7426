"""Fetches one file over HTTP into a ``.part`` file, and goes on where an earlier try ended."""

import http.client
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

import msgspec

from trunkline.engines.address import check_url
from trunkline.engines.file import CHUNK_BYTES, ModelError, write_whole
from trunkline.engines.progress import Progress

_TRIES: Final = 5
_STALL_S: Final = 60


class _Begun(msgspec.Struct, frozen=True):
    """What a part is a part of: the address, and the validator that its server gave."""

    url: str
    validator: str


class _Cut(Exception):  # noqa: N818 - a way the connection went, not an error yet
    """The connection ended before the file did."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that may be fetched; a token stays on its own origin."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_url(newurl)
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if old.scheme == "https" and new.scheme != "https":
            raise ModelError(f"{old.hostname} redirects to an address that is not encrypted.")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if request is not None and token and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.add_unredirected_header("Authorization", token)
        return request


def download_file(url: str, part: Path, progress: Progress, token: str | None = None) -> None:
    """Bring ``part`` up to the whole file at ``url``.

    A part of an earlier try is continued if its server still has the same file (the validator
    it gave, in ``If-Range``; RFC 9110 §13.1.5, read 2026-11-21), else it is fetched anew. A cut
    connection is taken up again, a few times in a row without a byte gained.

    Raises:
        ModelError: the server refused, cannot be reached, or broke off too often.
    """
    opener = urllib.request.build_opener(_Redirects())
    host = urlsplit(url).hostname
    idle = 0
    while True:
        before = _measure(part)
        try:
            _fetch_rest(opener, url, part, progress, token)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and before:
                _forget(part)  # longer than the file is now: another file
                continue
            raise ModelError(_describe_refusal(error.code, host, token)) from None
        except (_Cut, OSError, http.client.HTTPException) as error:
            kept = _measure(part)
            idle = 0 if kept > before else idle + 1
            if idle >= _TRIES or _is_hopeless(error):
                reason = getattr(error, "reason", error)
                raise ModelError(
                    f"{host} could not be reached or broke off: {reason}. Check the network and "
                    f"run the command again: it goes on after the {kept / 1e6:.1f} MB that are "
                    "here already."
                ) from None
        else:
            _begun_path(part).unlink(missing_ok=True)
            return


def _is_hopeless(error: Exception) -> bool:
    """A host that is not there at all is not asked again and again."""
    return isinstance(error, urllib.error.URLError)


def _fetch_rest(
    opener: urllib.request.OpenerDirector,
    url: str,
    part: Path,
    progress: Progress,
    token: str | None,
) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "trunkline"})  # noqa: S310
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    begun = _read_begun(part)
    if begun is not None and begun.url == url and _measure(part):
        request.add_header("Range", f"bytes={_measure(part)}-")
        request.add_header("If-Range", begun.validator)
    with opener.open(request, timeout=_STALL_S) as answer:
        start = _read_start(answer.headers) if answer.status == 206 else 0
        if start not in (0, _measure(part)):
            raise _Cut(f"the server sent another range than asked for ({start})")
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        _note_begun(part, url, answer.headers)
        with part.open("ab" if start else "wb") as out:
            progress.advance(start, total)
            while chunk := answer.read(CHUNK_BYTES):
                out.write(chunk)
                progress.advance(out.tell(), total)
            if total is not None and out.tell() < total:
                raise _Cut(f"{out.tell()} of {total} bytes came")


def _read_start(headers: Message) -> int:
    """Read where a partial answer begins; -1 if it does not say."""
    unit, _, words = headers.get("Content-Range", "").partition(" ")
    start = words.partition("-")[0]
    return int(start) if unit == "bytes" and start.isdecimal() else -1


def _note_begun(part: Path, url: str, headers: Message) -> None:
    """Keep the validator that lets this part be continued; without one it never is."""
    tag = headers.get("ETag", "")
    validator = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
    if validator:
        write_whole(_begun_path(part), msgspec.json.encode(_Begun(url, validator)))
    else:
        _begun_path(part).unlink(missing_ok=True)


def _read_begun(part: Path) -> _Begun | None:
    try:
        return msgspec.json.decode(_begun_path(part).read_bytes(), type=_Begun)
    except (OSError, msgspec.DecodeError):
        return None


def _begun_path(part: Path) -> Path:
    return part.with_name(part.name + ".begun")


def _measure(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _begun_path(part).unlink(missing_ok=True)


def _describe_refusal(status: int, host: str | None, token: str | None) -> str:
    if status in (401, 403):
        advice = "the token in HF_TOKEN has no access" if token else "it may need HF_TOKEN"
        return f"{host} refused the file with {status}: {advice}."
    if status == 404:
        return f"{host} has no such file (404). Check the owner, the name and the file."
    return f"{host} answered {status}; try again later."
