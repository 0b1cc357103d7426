"""Takes a call to one target: fits it to the target's format, sends it, delivers the answer."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from trunkline.delivery import Fan, Job, deliver_stream, deliver_whole, run_all
from trunkline.errors import GatewayError
from trunkline.heartbeat import Heartbeat
from trunkline.providers.fetch import Fetcher
from trunkline.providers.gate import Gate, Place
from trunkline.providers.provider import Provider
from trunkline.providers.upstream import Response
from trunkline.routing.ask import Ask
from trunkline.routing.deadline import shorten
from trunkline.routing.fit import find_foreign_images, find_read_said
from trunkline.routing.table import Target
from trunkline.wire.image import replace_addresses
from trunkline.wire.reply import Pair
from trunkline.wire.upstream_failure import read_failure

FAILURE_LIMIT_BYTES: Final = 1024 * 1024
IMAGE_LIMIT: Final = 8
"""Images that one call may have us fetch: they are all in memory at once."""
SLACK_NS: Final = 20_000_000
"""A call that took no longer than this before it is sent has its whole time left."""


class Courier:
    """Makes one attempt: it returns when the answer is delivered, and raises when it is not.

    Args:
        providers: by ``Target.key``.
        find_fetcher: gives what brings images to targets that do not fetch them; called when
            the first one is needed, for it reads the system's certificates.
    """

    def __init__(
        self, providers: Mapping[str, Provider], find_fetcher: Callable[[], Fetcher]
    ) -> None:
        self._providers = providers
        self._find_fetcher = find_fetcher

    def has_room(self, target: Target) -> bool:
        """Whether a target takes one more call without having it wait for its turn."""
        gate = self._providers[target.key].gate
        return gate is None or gate.has_room

    async def deliver(
        self, job: Job, target: Target, ask: Ask, heartbeat: Heartbeat | None
    ) -> None:
        """Send to one target and deliver its answer.

        Raises:
            GatewayError: of every sort that an upstream can cause.
        """
        request = job.request
        foreign = find_foreign_images(request, job.route, target)
        if foreign:
            asked_ns = time.perf_counter_ns()
            try:
                images = await self._fetch(foreign)
            finally:
                job.call.upstream_ns += time.perf_counter_ns() - asked_ns
            request = replace_addresses(request, images)
        pairs = job.form.fit(request, job.route, target, ask).pairs
        if len(pairs) == 1:
            response = await self._send(job, target, pairs[0])
            try:
                if heartbeat is None:
                    await deliver_whole(job, pairs[0], response)
                else:
                    await deliver_stream(job, pairs[0].open_stream(), response, heartbeat)
            finally:
                response.close()
            return
        fan = Fan(job, pairs, partial(self._send, job, target))
        # A task of its own, for a group of tasks needs one around it.
        loop = asyncio.get_running_loop()
        await loop.create_task(fan.deliver_whole() if heartbeat is None else fan.stream(heartbeat))

    async def _send(self, job: Job, target: Target, pair: Pair) -> Response:
        """Send one request; a status other than 2xx is a failure."""
        provider = self._providers[target.key]
        body = pair.write_request()
        call, key = job.call, ""
        if target.row.caller_key:
            key = _read_vendor_key(job.exchange.wishes.vendor_key)
            call.caller_paid = bool(key)
        gate, place = provider.gate, None
        if gate is not None:
            place = gate.enter(job.seat) or await _wait(gate, job)
        try:
            deadlines = job.deadlines
            sent_ns = time.perf_counter_ns()
            if sent_ns - call.started_ns > SLACK_NS:
                deadlines = shorten(deadlines, (sent_ns - call.started_ns) / 1e9)
            call.sent_ns = call.sent_ns or sent_ns
            call.sent += 1
            try:
                response = await provider.send(pair.path, body, deadlines, key)
            finally:
                call.upstream_ns += time.perf_counter_ns() - sent_ns
        except BaseException:
            if place is not None:
                place.leave()
            raise
        if place is not None:
            response.place = place  # which is left when the answer is closed
        if 200 <= response.status < 300:
            return response
        call.sent -= 1
        try:
            said = await response.read_all(FAILURE_LIMIT_BYTES)
        finally:
            response.close()
        failure = read_failure(
            response.status,
            response.headers,
            find_read_said(target)(said, response.headers),
            target=target.label,
            own=provider.spec.own,
        )
        if key and failure.code == "upstream_auth":
            message = f"Target '{target.label}' did not accept the key of x-openai-api-key."
            raise GatewayError("invalid_request", message, param="x-openai-api-key")
        raise failure

    async def _fetch(self, addresses: list[str]) -> dict[str, str]:
        """Data URLs of images that the target does not fetch itself, by address."""
        # A task of its own: a gathering of tasks needs one around it.
        found = await asyncio.get_running_loop().create_task(self._fetch_each(addresses))
        return dict(zip(addresses, found, strict=True))

    async def _fetch_each(self, addresses: list[str]) -> list[str]:
        if len(addresses) > IMAGE_LIMIT:
            raise GatewayError(
                "invalid_request",
                f"At most {IMAGE_LIMIT} images can be named by address for this target.",
            )
        fetcher = self._find_fetcher()
        found = await run_all([fetcher.fetch(address) for address in addresses])
        return [f"data:{each.media_type};base64,{b64encode(each.data).decode()}" for each in found]


async def _wait(gate: Gate, job: Job) -> Place:
    """Wait for the call's turn; a call that waits has not been sent.

    Raises:
        GatewayError: ``overloaded``.
    """
    call = job.call
    asked_ns = time.perf_counter_ns()
    try:
        within_s = job.deadlines.total_s - (asked_ns - call.started_ns) / 1e9
        return await gate.wait(job.seat, within_s)
    finally:
        call.upstream_ns += time.perf_counter_ns() - asked_ns


def _read_vendor_key(header: bytes | None) -> str:
    """The caller's own key for OpenAI, "" where there is none.

    Raises:
        GatewayError: ``invalid_request`` for what cannot stand in a header.
    """
    key = (header or b"").decode("latin-1").strip()
    if key and not (key.isascii() and key.isprintable()):
        raise GatewayError(
            "invalid_request", "x-openai-api-key: expected printable ASCII.", param=None
        )
    return key
