"""Access tokens for Google's Vertex AI: from a service account's key, or the metadata server."""

import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import msgspec

from trunkline.errors import GatewayError
from trunkline.providers.credential import Issued, Keeper, Source
from trunkline.providers.issuer import FAR, NEAR, Issuer
from trunkline.providers.upstream import TlsOptions

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_AUDIENCE: Final = "https://oauth2.googleapis.com/token"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_S: Final = 3600
_METADATA_HOST: Final = "metadata.google.internal"
_TOKEN_TARGET: Final = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105
_FLAVOR: Final = {"metadata-flavor": "Google"}
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")


class ServiceAccount(msgspec.Struct, frozen=True):
    """A service account as its JSON key file describes it."""

    client_email: str
    private_key: str
    token_uri: str
    private_key_id: str = ""

    def __repr__(self) -> str:
        return f"ServiceAccount({self.client_email!r}, ...)"


class _Kind(msgspec.Struct, frozen=True):
    """What sort of key file it is; there are several, with other fields."""

    type: str


class _Answer(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float


class _Refusal(msgspec.Struct, frozen=True):
    error: str = ""


def read_service_account(path: Path) -> ServiceAccount:
    """Read a key file.

    Raises:
        ValueError: it cannot be read, or is no key of a service account.
    """
    try:
        data = path.read_bytes()
        kind = msgspec.json.decode(data, type=_Kind).type
        if kind == "service_account":
            return msgspec.json.decode(data, type=ServiceAccount)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no key file of a service account: {error}") from None
    raise ValueError(f"{path} is a key file of the type '{kind[:40]}', not 'service_account'")


class AccountSource:
    """Tokens for a service account: an assertion signed with its key is exchanged for one.

    RFC 7523 section 2.1, with the claims that Google's own library sends (googleapis/
    google-auth-library-python, google/oauth2/service_account.py, read 2026-11-22).

    Args:
        account: whose tokens.
        clock: seconds since 1970.
        tls: trust and identity towards the token endpoint.
        variables: names a proxy as the environment does.

    Raises:
        ValueError: the key or the token endpoint's address cannot be used, or the extra
            ``vertex`` is not installed.
    """

    def __init__(
        self,
        account: ServiceAccount,
        *,
        clock: Callable[[], float] = time.time,
        tls: TlsOptions | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._account = account
        self._clock = clock
        self._key = _load_key(account.private_key)
        self._issuer = Issuer(account.token_uri, FAR, tls=tls, variables=variables)

    async def obtain(self) -> Issued[str]:
        """A new token; see ``Source``."""
        now_s = self._clock()
        fields = {"grant_type": _GRANT, "assertion": self._write_assertion(int(now_s))}
        headers = {"content-type": "application/x-www-form-urlencoded"}
        body = urlencode(fields).encode()
        status, answer = await self._issuer.ask("POST", self._issuer.target, headers, body)
        return _read_answer(self._issuer, status, answer, now_s)

    async def close(self) -> None:
        """Close the connections that wait."""
        await self._issuer.close()

    def _write_assertion(self, now_s: int) -> str:
        # Imported before, by _load_key.
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

        header = {"alg": "RS256", "typ": "JWT"}
        if self._account.private_key_id:
            header["kid"] = self._account.private_key_id
        claims = {
            "iss": self._account.client_email,
            "scope": _SCOPE,
            "aud": _AUDIENCE,
            "iat": now_s,
            "exp": now_s + _ASSERTION_S,
        }
        signed = b".".join(_encode(msgspec.json.encode(part)) for part in (header, claims))
        signature = self._key.sign(signed, PKCS1v15(), SHA256())
        return (signed + b"." + _encode(signature)).decode()


class MetadataSource:
    """Tokens for the service account of the machine we run on, from its metadata server.

    As Google's own library asks it (googleapis/google-auth-library-python, google/auth/
    compute_engine/_metadata.py, read 2026-11-22).
    """

    def __init__(
        self, host: str = _METADATA_HOST, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._issuer = Issuer(f"http://{host}{_TOKEN_TARGET}", NEAR)

    async def obtain(self) -> Issued[str]:
        """The machine's token; see ``Source``."""
        now_s = self._clock()
        status, answer = await self._issuer.ask("GET", self._issuer.target, _FLAVOR)
        return _read_answer(self._issuer, status, answer, now_s)

    async def close(self) -> None:
        """Close the connections that wait."""
        await self._issuer.close()


def find_source(
    key_file: str,
    variables: Mapping[str, str],
    *,
    tls: TlsOptions | None = None,
    clock: Callable[[], float] = time.time,
) -> Source[str]:
    """Choose where tokens come from.

    Args:
        key_file: of a service account; "" for the one that ``GOOGLE_APPLICATION_CREDENTIALS``
            names, or else the metadata server (at ``GCE_METADATA_HOST``, if that is set).
        variables: the environment; also names a proxy.
        tls: trust and identity towards the token endpoint.
        clock: seconds since 1970.

    Raises:
        ValueError: as ``read_service_account`` and ``AccountSource``.
    """
    path = key_file or variables.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    if path:
        account = read_service_account(Path(path))
        return AccountSource(account, clock=clock, tls=tls, variables=variables)
    return MetadataSource(variables.get("GCE_METADATA_HOST") or _METADATA_HOST, clock=clock)


class GoogleSigner:
    """Shows an access token with each request; see ``Signer``."""

    def __init__(self, source: Source[str], clock: Callable[[], float] = time.time) -> None:
        self._keeper = Keeper("Google Cloud", source, clock)

    def sign(self, path: str, body: bytes) -> bytes | None:  # noqa: ARG002 - a token signs nothing
        """The ``authorization`` line; None while there is no token."""
        token = self._keeper.peek()
        return None if token is None else b"authorization: Bearer %b\r\n" % token.encode()

    async def ready(self) -> None:
        """Wait until there is a token; see ``Signer``."""
        await self._keeper.ready()

    async def close(self) -> None:
        """Stop renewing."""
        await self._keeper.close()


def _load_key(pem: str) -> "RSAPrivateKey":
    try:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_pem_private_key,
        )
    except ImportError:
        raise ValueError(
            "a service account's key needs the extra 'vertex': pip install 'trunkline[vertex]'"
        ) from None
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):  # its message may quote the key
        raise ValueError("the service account's private_key is not a PEM key") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the service account's private_key is not an RSA key")  # noqa: TRY004
    return key


def _encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _read_answer(issuer: Issuer, status: int, body: bytes, now_s: float) -> Issued[str]:
    if status != 200:
        raise _refuse(f"{issuer.origin} gave no token ({status}{_read_code(body)})")
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _refuse(f"{issuer.origin} sent what is no token") from None
    if not _VISIBLE.fullmatch(answer.access_token):
        raise _refuse(f"{issuer.origin} sent what is no token")
    return Issued(answer.access_token, now_s + answer.expires_in)


def _read_code(body: bytes) -> str:
    """OAuth's word for a refusal (RFC 6749 section 5.2), and nothing else of the body."""
    try:
        code = msgspec.json.decode(body, type=_Refusal).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return f" {code}" if re.fullmatch(r"[a-z_]{1,40}", code) else ""


def _refuse(reason: str) -> GatewayError:
    return GatewayError("upstream_auth", reason)
