"""The verifier: from the key of a call to its grant and account, without a database in between."""

import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2s
from hmac import compare_digest
from secrets import token_bytes
from typing import Final

import msgspec

from trunkline.access.grant import Grant, Seat, quote_text
from trunkline.access.key import KEY_BYTES_LIMIT, hash_key
from trunkline.access.memory import Freshness, Memory, UnreachableError
from trunkline.access.usage import LastUse
from trunkline.errors import GatewayError
from trunkline.store.account import Account, is_account_id
from trunkline.store.key import KeyMatch
from trunkline.store.store import Store

_MISSING: Final = (
    "You didn't provide an API key. Send it in the header x-api-key, or as Authorization: Bearer."
)
_INCORRECT: Final = (
    "Incorrect API key provided. Check that it was copied whole, or ask the operator for a new one."
)
_REVOKED: Final = "This API key was revoked. Ask the operator for a new one."
_EXPIRED: Final = "This API key has expired. Ask the operator for a new one."
_SUSPENDED: Final = "The account of this API key is suspended. Ask the operator to activate it."
_UNREACHABLE: Final = "The API key cannot be checked at the moment. Try again in a moment."


class _Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a look-up said about one key: a grant, or why there is none."""

    grant: Grant | None
    refusal: str
    expires_at_us: int | None
    last_used_at_us: int | None


class Verifier:
    """Says who is calling, and for which account the call counts.

    ``check`` answers from memory at once, or with None; ``verify`` looks in the store where it
    must, and raises the refusal. A key or account that was revoked or suspended stops working
    within ``freshness.fresh_s`` in every process; see ``Freshness`` for what happens while the
    store does not answer.

    Args:
        store: where keys and accounts are kept; used in threads.
        pepper: 32 bytes.
        freshness: how long answers count.
        clock: seconds that never go back.
        wall_clock: seconds since 1970, UTC.
    """

    def __init__(
        self,
        store: Store,
        pepper: bytes,
        *,
        freshness: Freshness | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._pepper = pepper
        self._wall_clock = wall_clock
        freshness = freshness or Freshness()
        self._keys = Memory[bytes, _Verdict](self._look_up_keys, freshness, clock)
        self._accounts = Memory[str, Account](self._look_up_accounts, freshness, clock)
        self._last_use = LastUse(store.keys.change_last_used)
        # OpenSSL takes 3 µs to set up an HMAC; a keyed BLAKE2 of this process alone finds it.
        self._quick = blake2s(key=token_bytes(32))
        self._digests: dict[bytes, bytes] = {}
        self._digests_limit = freshness.size

    def find_digest(self, key: bytes | None) -> bytes | None:
        """What a key is known by that was verified before; None when it must be verified."""
        if not key or len(key) > KEY_BYTES_LIMIT:
            return None
        return self._digests.get(self._hash_quickly(key))

    def check(self, digest: bytes | None) -> Grant | None:
        """The grant of a key that was verified moments ago; None when it must be verified.

        Args:
            digest: of ``find_digest``.
        """
        verdict = None if digest is None else self._keys.peek(digest)
        if verdict is None or (verdict.expires_at_us is not None and self._is_expired(verdict)):
            return None
        return verdict.grant

    async def verify(self, key: bytes | None) -> Grant:
        """The grant of a key (as ``read_key`` returns it).

        Raises:
            GatewayError: ``invalid_api_key`` when there is none, or it is unknown, revoked,
                expired or of a suspended account; ``overloaded`` when the store does not answer
                and the key is not known from before.
        """
        if not key:
            raise GatewayError("invalid_api_key", _MISSING)
        if len(key) > KEY_BYTES_LIMIT:
            raise GatewayError("invalid_api_key", _INCORRECT)
        try:
            digest = hash_key(self._pepper, key)
            verdict = await self._keys.find(digest)
        except UnreachableError:
            raise GatewayError("overloaded", _UNREACHABLE, retry_after_s=1) from None
        if verdict is None:
            raise GatewayError("invalid_api_key", _INCORRECT)
        if verdict.grant is None:
            raise GatewayError("invalid_api_key", verdict.refusal)
        if self._is_expired(verdict):
            raise GatewayError("invalid_api_key", _EXPIRED)
        self._last_use.note(verdict.grant.key_id, self._now_us(), verdict.last_used_at_us)
        if len(self._digests) >= self._digests_limit:
            self._digests.clear()
        self._digests[self._hash_quickly(key)] = digest
        return verdict.grant

    async def choose_account(self, grant: Grant, selected: str | None, body: str | None) -> Seat:
        """Whom a call counts for: the chosen account, with its terms and the key's.

        The header's account scopes the call, else the body's, else the key's own; where header
        and body both name one, the key must be allowed both. An empty text names none.

        Args:
            grant: the caller's.
            selected: the account of the header ``x-selected-account-id``.
            body: the account of the body's ``account_id``.

        Raises:
            GatewayError: ``permission_denied`` names the account that the key may not act for;
                ``overloaded`` when the store does not answer.
        """
        seats = [
            grant.find_seat(wanted) or await self._find_seat(grant, wanted)
            for wanted in (selected, body)
            if wanted
        ]
        return seats[0] if seats else grant.seat

    def _hash_quickly(self, key: bytes) -> bytes:
        state = self._quick.copy()
        state.update(key)
        return state.digest()

    async def close(self) -> None:
        """Wait for the look-ups and writes under way; the store may be closed afterwards."""
        await self._keys.close()
        await self._accounts.close()
        await self._last_use.close()

    async def _find_seat(self, grant: Grant, wanted: str) -> Seat:
        """The seat at an account that is none of the key's own."""
        if not grant.admin:
            # Says the same of accounts that exist and of those that do not.
            raise GatewayError(
                "permission_denied",
                f"This API key may not act for the account {quote_text(wanted)}; "
                f"leave the account out to act for {quote_text(grant.account_id)}.",
            )
        try:
            account = await self._accounts.find(wanted) if is_account_id(wanted) else None
        except UnreachableError:
            raise GatewayError("overloaded", _UNREACHABLE, retry_after_s=1) from None
        if account is None:
            raise GatewayError(
                "permission_denied",
                f"The account {quote_text(wanted)} does not exist; "
                "the operator can create it with: trunkline accounts create",
            )
        if account.status != "active":
            raise GatewayError(
                "permission_denied", f"The account {quote_text(wanted)} is suspended."
            )
        return grant.make_seat(wanted, account.terms)

    def _look_up_keys(self, digests: Sequence[bytes]) -> Mapping[bytes, _Verdict]:
        matches = {match.hash: match for match in self._store.keys.find_by_hash(digests)}
        # Whatever a database takes for equal, this comparison decides, in constant time.
        return {
            digest: _judge(match)
            for digest in digests
            if (match := matches.get(digest)) and compare_digest(match.hash, digest)
        }

    def _look_up_accounts(self, account_ids: Sequence[str]) -> Mapping[str, Account]:
        return self._store.accounts.find_many(account_ids)

    def _is_expired(self, verdict: _Verdict) -> bool:
        return verdict.expires_at_us is not None and verdict.expires_at_us <= self._now_us()

    def _now_us(self) -> int:
        return int(self._wall_clock() * 1_000_000)


def _judge(match: KeyMatch) -> _Verdict:
    """What the store's row says about a key, apart from the time."""
    key = match.key
    grant, refusal = None, ""
    if key.revoked_at_us is not None:
        refusal = _REVOKED
    elif key.account_id not in match.account_terms:
        refusal = _SUSPENDED
    else:
        grant = _make_grant(match)
    return _Verdict(grant, refusal, key.expires_at_us, key.last_used_at_us)


def _make_grant(match: KeyMatch) -> Grant:
    key = match.key
    seat = Seat(
        account_id=key.account_id,
        account_terms=match.account_terms[key.account_id],
        key_id=key.id,
        key_subject=key.subject_id,
        key_terms=key.terms,
    )
    return Grant(
        key_id=key.id,
        key_subject=key.subject_id,
        account_id=key.account_id,
        accounts=frozenset(match.account_terms),
        terms=key.terms,
        account_terms=match.account_terms,
        seat=seat,
        admin=key.role == "admin",
        models=key.models,
    )
