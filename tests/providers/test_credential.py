"""The keeping and renewing of credentials, with a scripted metadata server as their source."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

import pytest

from access.clock import Clock
from providers.issuing import Desk, token
from scripted import Peer, ScriptedServer, wait_until
from trunkline.errand import Errand
from trunkline.errors import GatewayError
from trunkline.providers.credential import Issued, Keeper, Signer
from trunkline.providers.google import GoogleSigner, MetadataSource

Make = Callable[..., GoogleSigner]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make(clock: Clock) -> AsyncIterator[Make]:
    """Makes signers whose metadata server is a scripted one, and closes them after the test."""
    signers: list[GoogleSigner] = []

    def build(server: ScriptedServer, now: Callable[[], float] = clock) -> GoogleSigner:
        source = MetadataSource(f"{server.host}:{server.port}", clock=now)
        signers.append(GoogleSigner(source, now))
        return signers[-1]

    yield build
    for signer in signers:
        await signer.close()


def line(text: str) -> bytes:
    return f"authorization: Bearer {text}\r\n".encode()


def is_renewing(signer: GoogleSigner) -> bool:
    return signer._keeper._renewal is not None


async def test_the_first_token_is_waited_for(make: Make) -> None:
    async with ScriptedServer(Desk(token("one"))) as server:
        signer: Signer = make(server)
        assert signer.sign("/x", b"{}") is None
        assert server.requests == []
        await signer.ready()
        assert signer.sign("/x", b"{}") == line("one")
        await signer.ready()
        assert len(server.requests) == 1


async def test_no_call_waits_for_a_renewal(make: Make, clock: Clock) -> None:
    held = asyncio.Event()
    async with ScriptedServer(Desk(token("one"), token("two"), held=held)) as server:
        signer = make(server)
        await signer.ready()
        clock.now_s += 3600 - 226
        assert signer.sign("/x", b"") == line("one")
        clock.now_s += 1
        for _ in range(3):
            assert signer.sign("/x", b"") == line("one")
            await signer.ready()
        await wait_until(lambda: len(server.requests) == 2)
        assert signer.sign("/x", b"") == line("one")
        held.set()
        await wait_until(lambda: signer.sign("/x", b"") == line("two"))
        assert len(server.requests) == 2


async def test_a_token_is_renewed_though_no_call_comes(make: Make) -> None:
    async with ScriptedServer(Desk(token("one", 0.4), token("two"))) as server:
        signer = make(server, time.time)
        await signer.ready()
        await wait_until(lambda: len(server.requests) == 2)
        await wait_until(lambda: signer.sign("/x", b"") == line("two"))


async def test_while_the_old_token_counts_a_failed_renewal_is_only_logged(
    make: Make, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [(500, "secret-of-the-server")] * 3
    async with ScriptedServer(Desk(token("one"), *failures, token("two"))) as server:
        signer = make(server)
        await signer.ready()
        clock.now_s += 3600 - 225
        assert signer.sign("/x", b"") == line("one")
        asked = 2
        for wait_s in (1, 2, 4):
            await wait_until(lambda: len(caplog.records) == asked - 1)  # noqa: B023 - awaited here
            assert len(server.requests) == asked
            clock.now_s += wait_s - 0.1
            assert signer.sign("/x", b"") == line("one")
            assert not is_renewing(signer)
            clock.now_s += 0.1
            assert signer.sign("/x", b"") == line("one")
            asked += 1
        await wait_until(lambda: signer.sign("/x", b"") == line("two"))
        assert len(server.requests) == 5
    text = caplog.text
    assert "good for 225 s more" in text
    assert "500" in text
    assert "secret" not in text
    assert "one" not in text
    # The renewal itself is told at level info, where another test has turned that on.
    assert {record.levelno for record in caplog.records} - {logging.INFO} == {logging.WARNING}


async def test_without_a_valid_token_calls_fail_at_once_until_the_next_attempt(
    make: Make, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk((404, "not found"), (404, "not found"), token("one"))
    async with ScriptedServer(desk) as server:
        signer = make(server)
        for asked in (1, 2):
            for _ in range(3):
                with pytest.raises(
                    GatewayError, match=r"Google Cloud: .* gave no token \(404\)"
                ) as caught:
                    await signer.ready()
                assert caught.value.code == "upstream_auth"
                assert signer.sign("/x", b"") is None
                assert len(server.requests) == asked
            clock.now_s += asked
        await signer.ready()
        assert signer.sign("/x", b"") == line("one")
    levels = [each.levelno for each in caplog.records if each.levelno > logging.INFO]
    assert levels == [logging.ERROR, logging.ERROR]


async def test_the_wait_between_attempts_has_an_upper_end(make: Make, clock: Clock) -> None:
    async with ScriptedServer(Desk((500, ""))) as server:
        signer = make(server)
        for asked in range(1, 12):
            with pytest.raises(GatewayError):
                await signer.ready()
            assert len(server.requests) == asked
            clock.now_s += 30


async def test_a_token_that_ended_while_the_machine_slept_is_not_used(
    make: Make, clock: Clock
) -> None:
    async with ScriptedServer(Desk(token("one"), token("two"))) as server:
        signer = make(server)
        await signer.ready()
        clock.now_s += 3600
        assert signer.sign("/x", b"") is None
        await signer.ready()
        assert signer.sign("/x", b"") == line("two")
        assert len(server.requests) == 2


async def test_an_old_token_from_the_servers_memory_is_asked_for_again_sooner(
    make: Make, clock: Clock
) -> None:
    async with ScriptedServer(Desk(token("one", 100), token("two"))) as server:
        signer = make(server)
        await signer.ready()
        clock.now_s += 79
        assert signer.sign("/x", b"") == line("one")
        assert not is_renewing(signer)
        clock.now_s += 1
        await wait_until(lambda: signer.sign("/x", b"") == line("two"))


@pytest.mark.parametrize("life_s", [0, -5])
async def test_a_token_that_has_ended_when_it_comes_is_no_token(make: Make, life_s: float) -> None:
    async with ScriptedServer(Desk(token("one", life_s))) as server:
        signer = make(server)
        with pytest.raises(GatewayError, match="clock of this machine"):
            await signer.ready()
        assert signer.sign("/x", b"") is None


async def test_all_who_wait_share_one_request_and_one_may_leave(make: Make) -> None:
    held = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await held.wait()
        await peer.answer(b'{"access_token":"one","expires_in":3600}')

    async with ScriptedServer(script) as server:
        signer = make(server)
        waiting = [asyncio.create_task(signer.ready()) for _ in range(3)]
        await wait_until(lambda: len(server.requests) == 1)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        held.set()
        await asyncio.gather(*waiting[1:])
        assert signer.sign("/x", b"") == line("one")
        assert len(server.requests) == 1


async def test_errands_wait_too_and_one_may_be_cancelled(make: Make) -> None:
    held = asyncio.Event()
    signed: list[bytes | None] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await held.wait()
        await peer.answer(b'{"access_token":"one","expires_in":3600}')

    async with ScriptedServer(script) as server:
        signer = make(server)

        async def call() -> None:
            assert asyncio.current_task() is None
            await signer.ready()
            signed.append(signer.sign("/x", b""))

        loop = asyncio.get_running_loop()
        ended: list[Errand] = []
        errands = [Errand(loop, call(), ended.append) for _ in range(3)]
        for errand in errands:
            loop.call_soon(errand.step)
        await wait_until(lambda: len(server.requests) == 1)
        errands[0].cancel()
        await wait_until(lambda: len(ended) == 1)
        held.set()
        await wait_until(lambda: len(ended) == 3)
        assert signed == [line("one")] * 2


async def test_closing_ends_a_renewal_under_way(make: Make) -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.wait_closed()
        left.set()

    async with ScriptedServer(script) as server:
        signer = make(server)
        waiting = asyncio.create_task(signer.ready())
        await wait_until(lambda: len(server.requests) == 1)
        await signer.close()
        await asyncio.wait_for(left.wait(), 5)
        with pytest.raises(GatewayError):
            await waiting


async def test_a_fault_in_a_source_is_an_answer_and_not_a_hang(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty:
        async def obtain(self) -> Issued[str]:
            raise ZeroDivisionError

        async def close(self) -> None:
            pass

    keeper = Keeper("a test", Faulty(), clock)
    with pytest.raises(GatewayError, match="ZeroDivisionError") as caught:
        await keeper.ready()
    assert caught.value.code == "upstream_auth"
    assert "a source of credentials for a test has a fault" in caplog.text
    await keeper.close()


async def test_a_credential_without_an_end_is_never_renewed(clock: Clock) -> None:
    class Static:
        asked = 0

        async def obtain(self) -> Issued[str]:
            self.asked += 1
            return Issued("for ever")

        async def close(self) -> None:
            pass

    source = Static()
    keeper = Keeper("a test", source, clock)
    await keeper.ready()
    clock.now_s += 1e9
    assert keeper.peek() == "for ever"
    await keeper.ready()
    assert source.asked == 1
    await keeper.close()
