"""Goes on with a streamed answer that broke after its first content, where the operator wants it.

Everything before the first content is the failover's; so is every attempt that is made here. What
is added is the request for the rest of the answer, and the seam (docs/streams.md, Answers that
are continued).
"""

import asyncio
import random
import time
from functools import partial
from typing import Final

import msgspec

from trunkline.admission import Desk, Stay
from trunkline.delivery import Job
from trunkline.errors import GatewayError
from trunkline.failover import Failover
from trunkline.heartbeat import Heartbeat
from trunkline.ledger.entry import NO_TOKENS
from trunkline.routing.prefill import continue_streams, list_able, record_streams
from trunkline.routing.retry import find_wait_s, judge
from trunkline.routing.standing import Standings
from trunkline.routing.table import Route, Target
from trunkline.routing.trail import LEAST_S
from trunkline.wire.continuation import asks_plain_text
from trunkline.wire.transcript import RecordedReply, Said

MOST: Final = 2
"""Attempts to go on with an answer, within the ``retries`` of its route."""


class Resumption:
    """Serves the streams of routes with ``resume``; one a worker.

    Args:
        desk: keeps the ledger.
        standings: how the targets stand.
        failover: makes the attempts.
    """

    def __init__(self, desk: Desk, standings: Standings, failover: Failover) -> None:
        self._desk = desk
        self._standings = standings
        self._failover = failover

    async def serve(self, job: Job, stay: Stay, heartbeat: Heartbeat) -> None:
        """Serve a stream as the failover does, and go on with it where it breaks.

        Raises:
            GatewayError: as the failover; of an answer that could not be continued, what it broke
                with.
        """
        try:
            first = msgspec.structs.replace(job, form=record_streams(job.form))
            await self._failover.serve(first, stay, heartbeat)
        except GatewayError as error:
            broken = error
        else:
            return
        call = job.call
        first_ns = call.first_ns
        try:
            if first_ns and may_resume(job, broken):
                await self._go_on(job, stay, heartbeat, broken)
            else:
                raise broken
        finally:
            # In the ledger the call's first content is that which its client had first.
            call.first_ns = first_ns

    async def _go_on(
        self, job: Job, stay: Stay, heartbeat: Heartbeat, broken: GatewayError
    ) -> None:
        call, first_ns, said = job.call, job.call.first_ns, Said()
        last = call.attempts + min(MOST, job.route.rule.retries - call.attempts + 1)
        cause, words = broken, job.words
        while call.attempts < last and judge(cause).again == "anywhere":
            taken = take_said(job, stay, said)
            if taken is None:
                break
            said = taken
            if said.breaks > 1:
                words += (f"resumed:{call.target}",)
            route = await self._find_route(job, last - call.attempts - 1)
            if route is None:
                break
            before = call.attempts
            try:
                settle = partial(self._settle, job, stay, first_ns)
                form = continue_streams(job.form, said)
                more = msgspec.structs.replace(
                    job, form=form, route=route, settle=settle, words=words
                )
                await self._failover.serve(more, stay, heartbeat)
            except GatewayError as error:
                if job.exchange.gone or call.attempts == before or not call.first_ns:
                    break
                cause = error
            else:
                return
        raise broken

    async def _find_route(self, job: Job, retries: int) -> Route | None:
        """The targets that can go on, in order; None where none can, or there is no time.

        The one that broke is the last. If it is the only one, it is asked after a wait, and only
        within its retry budget.
        """
        route, call = job.route, job.call
        able = tuple(list_able(job.request, route, call.target))
        now_ns = time.perf_counter_ns()
        left_s = job.deadlines.total_s - (now_ns - call.started_ns) / 1e9
        if not able or left_s < LEAST_S:
            return None
        if able[0].label == call.target and not await self._wait_for(able[0], job, left_s):
            return None
        rule = msgspec.structs.replace(
            route.rule, policy="ordered", sticky=False, retries=retries, hedge_share=0
        )
        return msgspec.structs.replace(route, targets=able, rule=rule)

    async def _wait_for(self, target: Target, job: Job, left_s: float) -> bool:
        """Wait until a target that broke may be asked again; False where it may not."""
        began_ns = time.perf_counter_ns()
        now_s = began_ns / 1e9
        standing = self._standings.find(target)
        aside_s = max(standing.aside_until_s - now_s, 0.0)
        wait_s = find_wait_s(1, aside_s, left_s, random.random())  # noqa: S311 - spreads the load
        share = job.route.rule.retry_share
        if wait_s is None or not standing.retries.take(share, now_s):
            return False
        try:
            await asyncio.sleep(wait_s)
        finally:
            job.call.upstream_ns += time.perf_counter_ns() - began_ns
        return True

    def _settle(self, job: Job, stay: Stay, first_ns: int) -> None:
        """Settle a call whose last bytes are about to leave, as the relay does for all others.

        The attempt has a first content of its own, and so has the call.
        """
        call = job.call
        own_ns = call.first_ns
        self._desk.end_attempt(stay, call, job.route.find_target(call.target), "complete")
        if job.exchange.gone:
            stay.note_end("left", "")
        call.first_ns = first_ns
        self._desk.settle(stay, call)
        call.first_ns = own_ns


def may_resume(job: Job, error: GatewayError) -> bool:
    """Whether an answer that broke may be continued at all.

    Not for a client that allows no change, and not where anything else than text was asked for.
    """
    if job.exchange.gone or judge(error).again != "anywhere":
        return False
    return not job.exchange.wishes.strict and asks_plain_text(job.request)


def take_said(job: Job, stay: Stay, before: Said) -> Said | None:
    """What the client has of the answer by now; None where that cannot be continued."""
    reply = job.call.readings[-1] if job.call.readings else None
    if not isinstance(reply, RecordedReply):
        return None
    transcript = reply.transcript
    try:
        text = before.text + transcript.read_text()
    except UnicodeError:
        return None
    hidden = not before.breaks and reply.has_thoughts()
    if not transcript.is_plain or transcript.has_ended or hidden or not text.strip():
        return None
    own = (each.tokens for each in reversed(stay.attempts) if each.target == job.call.target)
    tokens = next(own, NO_TOKENS)
    # Anthropic counts the output at the end, and calls it 1 until then.
    made = max(tokens.output, reply.pieces)
    return Said(
        text,
        before.head or transcript.head,
        before.input_tokens + tokens.input,
        before.output_tokens + made,
        before.breaks + 1,
    )
