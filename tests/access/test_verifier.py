"""Who is calling, for which account: on a real store, with a clock that the test sets."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from access.clock import Clock
from trunkline.access.grant import Grant, Seat
from trunkline.access.key import NewKey, create_key, hash_key
from trunkline.access.roster import KeyChange, Roster
from trunkline.access.verifier import Verifier
from trunkline.errors import GatewayError
from trunkline.store.key import Key
from trunkline.store.store import Store, open_store
from trunkline.terms import NO_ACCOUNT_TERMS, NO_TERMS, AccountTerms, Budget, Limits, Terms

PEPPER = bytes(range(32))
NOW_US = 1_800_000_000_000_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def verifier(store: Store, clock: Clock) -> AsyncIterator[Verifier]:
    for account_id in ("a", "b", "team c"):
        store.accounts.create(account_id, "", 1)
    made = Verifier(store, PEPPER, clock=clock, wall_clock=clock)
    yield made
    await made.close()


def make_key(store: Store, new: NewKey | None = None) -> tuple[bytes, Key]:
    new = new or NewKey(account_id="a")
    text, key = create_key(store, PEPPER, new, NOW_US)
    return text.encode(), key


async def refuse(verifier: Verifier, key: bytes | None) -> GatewayError:
    assert verifier.check(verifier.find_digest(key)) is None
    with pytest.raises(GatewayError) as caught:
        await verifier.verify(key)
    return caught.value


def run_sql(store: Store, statement: str) -> None:
    with store.database.write() as connection:
        connection.exec_driver_sql(statement)


async def test_a_key_is_looked_up_once_and_then_known(store: Store, verifier: Verifier) -> None:
    text, key = make_key(store, NewKey(account_id="a", models=("local/*",), accounts=("b",)))
    assert verifier.check(verifier.find_digest(text)) is None
    grant = await verifier.verify(text)
    seat = Seat(
        account_id="a",
        account_terms=NO_ACCOUNT_TERMS,
        key_id=key.id,
        key_subject=key.id,
        key_terms=NO_TERMS,
    )
    assert grant == Grant(
        key_id=key.id,
        key_subject=key.id,
        account_id="a",
        accounts=frozenset({"a", "b"}),
        terms=NO_TERMS,
        account_terms=dict.fromkeys("ab", NO_ACCOUNT_TERMS),
        seat=seat,
        admin=False,
        models=("local/*",),
    )
    assert verifier.check(verifier.find_digest(text)) is grant
    assert await verifier.choose_account(grant, None, None) is grant.seat
    assert await verifier.choose_account(grant, "a", "") is grant.seat


@pytest.mark.parametrize("key", [None, b""])
async def test_no_key(verifier: Verifier, key: bytes | None) -> None:
    error = await refuse(verifier, key)
    assert (error.code, error.status) == ("invalid_api_key", 401)
    assert "didn't provide" in error.message


@pytest.mark.parametrize(
    "key", [b"canary", b"canary" * 10_000, b"\xff\xfe canary", b"' OR 1=1 -- canary", b"\0canary"]
)
async def test_an_unknown_key_is_refused_and_not_shown(
    verifier: Verifier, key: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        error = await refuse(verifier, key)
        assert (error.code, error.status) == ("invalid_api_key", 401)
        assert error.message.startswith("Incorrect API key provided.")
        assert "canary" not in error.message + caplog.text


async def test_almost_a_key_is_no_key(store: Store, verifier: Verifier) -> None:
    text, _ = make_key(store)
    for near in (text[:-1], text + b"A", text.lower(), text[3:], text.replace(b"tl-", b"tl_")):
        await refuse(verifier, near)
    assert await verifier.verify(text)


async def test_a_revoked_key_stops_within_five_seconds_in_every_worker(
    store: Store, verifier: Verifier, clock: Clock, tmp_path: Path
) -> None:
    text, key = make_key(store)
    second_store = open_store(tmp_path / "trunkline.db")
    second = Verifier(second_store, PEPPER, clock=clock, wall_clock=clock)
    for worker in (verifier, second):
        assert await worker.verify(text)
    store.keys.change_revoked(key.id, NOW_US)
    clock.now_s += 5
    for worker in (verifier, second):
        error = await refuse(worker, text)
        assert (error.code, error.message[:24]) == ("invalid_api_key", "This API key was revoked")
    await second.close()
    second_store.close()


async def test_a_key_expires_at_its_moment_even_while_it_is_known(
    store: Store, verifier: Verifier, clock: Clock
) -> None:
    text, _ = make_key(store, NewKey(account_id="a", expires_at_us=NOW_US + 2_000_000))
    clock.now_s += 1.9
    assert await verifier.verify(text) is verifier.check(verifier.find_digest(text))
    clock.now_s += 0.2
    error = await refuse(verifier, text)
    assert (error.code, error.message[:24]) == ("invalid_api_key", "This API key has expired")


async def test_a_suspended_account_stops_its_keys(
    store: Store, verifier: Verifier, clock: Clock
) -> None:
    text, _ = make_key(store)
    await verifier.verify(text)
    store.accounts.change("a", status="suspended")
    clock.now_s += 5
    error = await refuse(verifier, text)
    assert error.code == "invalid_api_key"
    assert "suspended" in error.message
    store.accounts.change("a", status="active")
    clock.now_s += 5
    assert await verifier.verify(text)


@pytest.mark.parametrize(
    ("selected", "body", "account"),
    [
        (None, None, "a"),
        ("", "", "a"),
        ("a", None, "a"),
        ("b", None, "b"),
        (None, "b", "b"),
        ("b", "a", "b"),
        ("a", "b", "a"),
    ],
)
async def test_a_member_acts_for_its_accounts(
    store: Store, verifier: Verifier, selected: str | None, body: str | None, account: str
) -> None:
    text, _ = make_key(store, NewKey(account_id="a", accounts=("b",)))
    grant = await verifier.verify(text)
    seat = await verifier.choose_account(grant, selected, body)
    assert (seat.account_id, seat.key_id) == (account, grant.key_id)


@pytest.mark.parametrize("unknown", ["team c", "nobody", "A", "a ", "a' OR '1'='1", "\ud800"])
async def test_a_member_acts_for_no_other_account(
    store: Store, verifier: Verifier, unknown: str
) -> None:
    text, _ = make_key(store)
    grant = await verifier.verify(text)
    for selected, body in ((unknown, None), (None, unknown), ("a", unknown), (unknown, "a")):
        with pytest.raises(GatewayError) as caught:
            await verifier.choose_account(grant, selected, body)
        assert (caught.value.code, caught.value.status) == ("permission_denied", 403)
        assert caught.value.message.startswith(
            f"This API key may not act for the account {unknown!r};"
        )


async def test_an_admin_acts_for_every_existing_account(
    store: Store, verifier: Verifier, clock: Clock
) -> None:
    text, _ = make_key(store, NewKey(account_id="a", role="admin"))
    grant = await verifier.verify(text)
    assert (await verifier.choose_account(grant, "team c", "b")).account_id == "team c"
    for unknown in ("new", "\ud800", "x" * 1000):
        with pytest.raises(GatewayError, match="does not exist") as caught:
            await verifier.choose_account(grant, unknown, None)
        assert caught.value.code == "permission_denied"
        assert len(caught.value.message) < 300
    store.accounts.create("new", "", 1)
    clock.now_s += 5
    assert (await verifier.choose_account(grant, "new", None)).account_id == "new"


async def test_nobody_acts_for_a_suspended_account(
    store: Store, verifier: Verifier, clock: Clock
) -> None:
    admin, _ = make_key(store, NewKey(account_id="a", role="admin"))
    member, _ = make_key(store, NewKey(account_id="a", accounts=("b",)))
    store.accounts.change("b", status="suspended")
    for text in (admin, member):
        grant = await verifier.verify(text)
        with pytest.raises(GatewayError, match=r"'b'") as caught:
            await verifier.choose_account(grant, "b", None)
        assert caught.value.code == "permission_denied"


async def test_a_seat_has_the_terms_of_the_account_and_of_the_key(
    store: Store, verifier: Verifier, clock: Clock
) -> None:
    terms = Terms(limits=Limits(rpm=3), budgets=(Budget("usd", "day", 5),))
    b_terms = AccountTerms(limits=Limits(concurrent=9), leaving="drain")
    store.accounts.change("b", terms=b_terms)
    admin, _ = make_key(store, NewKey(account_id="a", role="admin", terms=terms))
    member, _ = make_key(store, NewKey(account_id="a", accounts=("b",), terms=terms))
    for text in (admin, member):
        grant = await verifier.verify(text)
        assert (grant.terms, grant.seat.key_terms) == (terms, terms)
        seat = await verifier.choose_account(grant, "b", "a")
        assert (seat.account_terms, seat.key_terms) == (b_terms, terms)
        assert (seat.key_id, seat.key_subject) == (grant.key_id, grant.key_id)
    store.accounts.change("b", terms=NO_ACCOUNT_TERMS)
    store.accounts.change("a", terms=b_terms)
    clock.now_s += 5
    grant = await verifier.verify(admin)
    assert grant.seat.account_terms == b_terms
    assert (await verifier.choose_account(grant, "b", None)).account_terms == NO_ACCOUNT_TERMS


async def test_a_members_accounts_that_were_taken_away_are_gone_within_five_seconds(
    store: Store, verifier: Verifier, clock: Clock
) -> None:
    text, key = make_key(store, NewKey(account_id="a", accounts=("b",)))
    roster = Roster(store, PEPPER, "cli:test", lambda: NOW_US)
    assert await verifier.choose_account(await verifier.verify(text), "b", None)
    roster.change_key(key.id, KeyChange(accounts=("team c",)))
    clock.now_s += 5
    grant = await verifier.verify(text)
    assert (await verifier.choose_account(grant, "team c", None)).account_id == "team c"
    for selected, body in (("b", None), (None, "b"), ("team c", "b"), ("b", "team c")):
        with pytest.raises(GatewayError, match="may not act for the account 'b'"):
            await verifier.choose_account(grant, selected, body)


async def test_after_a_rotation_both_keys_work_and_count_as_one_until_the_overlap_ends(
    store: Store, verifier: Verifier, clock: Clock
) -> None:
    text, key = make_key(store)
    roster = Roster(store, PEPPER, "cli:test", lambda: int(clock() * 1_000_000))
    new_text, new = roster.rotate_key(key.id, 10)
    for known in (text, new_text.encode()):
        grant = await verifier.verify(known)
        assert (grant.key_subject, grant.seat.key_subject) == (key.id, key.id)
    assert grant.key_id == grant.seat.key_id == new.id
    clock.now_s += 10
    error = await refuse(verifier, text)
    assert error.message.startswith("This API key has expired")
    assert await verifier.verify(new_text.encode())
    roster.revoke_key(new.id)
    clock.now_s += 5
    for replayed in (text, new_text.encode()):
        assert (await refuse(verifier, replayed)).code == "invalid_api_key"


async def test_a_key_that_was_known_before_its_rotation_ends_within_five_seconds(
    store: Store, verifier: Verifier, clock: Clock
) -> None:
    text, key = make_key(store)
    assert await verifier.verify(text)
    Roster(store, PEPPER, "cli:test", lambda: NOW_US).rotate_key(key.id, 0)
    clock.now_s += 5
    assert (await refuse(verifier, text)).message.startswith("This API key has expired")


async def test_while_the_database_fails_known_keys_go_on_for_two_minutes(
    store: Store, verifier: Verifier, clock: Clock
) -> None:
    text, _ = make_key(store, NewKey(account_id="a", role="admin"))
    other, _ = make_key(store)
    grant = await verifier.verify(text)
    await verifier.choose_account(grant, "b", None)
    await verifier.close()  # last use is written
    run_sql(store, "ALTER TABLE keys RENAME TO hidden")
    run_sql(store, "ALTER TABLE accounts RENAME TO hidden_accounts")
    clock.now_s += 119
    assert await verifier.verify(text) == grant
    assert (await verifier.choose_account(grant, "b", None)).account_id == "b"
    error = await refuse(verifier, other)
    assert (error.code, error.status, error.retry_after_s) == ("overloaded", 503, 1)
    clock.now_s += 1
    error = await refuse(verifier, text)
    assert error.code == "overloaded"
    with pytest.raises(GatewayError) as caught:
        await verifier.choose_account(grant, "b", None)
    assert caught.value.code == "overloaded"
    run_sql(store, "ALTER TABLE hidden_accounts RENAME TO accounts")
    run_sql(store, "ALTER TABLE hidden RENAME TO keys")
    assert await verifier.verify(other)
    assert await verifier.verify(text) == grant


async def test_last_use_is_written_aside(store: Store, verifier: Verifier, clock: Clock) -> None:
    text, key = make_key(store)
    await verifier.verify(text)
    await verifier.close()
    found = store.keys.find(key.id)
    assert found
    assert found.last_used_at_us == NOW_US
    clock.now_s += 59
    await verifier.verify(text)
    await verifier.close()
    assert store.keys.find(key.id) == found
    clock.now_s += 5
    await verifier.verify(text)
    await verifier.close()
    found = store.keys.find(key.id)
    assert found
    assert found.last_used_at_us == NOW_US + 64_000_000


async def test_many_calls_at_once_are_all_told_the_same(store: Store, verifier: Verifier) -> None:
    texts = [make_key(store)[0] for _ in range(5)]
    grants = await asyncio.gather(*(verifier.verify(text) for text in texts * 20))
    assert len({grant.key_id for grant in grants}) == 5
    assert all(verifier.check(verifier.find_digest(text)) for text in texts)


async def test_memory_holds_hashes_and_no_text(store: Store, verifier: Verifier) -> None:
    # So what a look-up's time could tell is about an HMAC whose pepper the caller does not know.
    text, _ = make_key(store)
    await verifier.verify(text)
    await refuse(verifier, b"unknown")
    memory = verifier._keys
    assert [*memory._known] == [hash_key(PEPPER, text)]
    assert [*memory._unknown] == [hash_key(PEPPER, b"unknown")]
