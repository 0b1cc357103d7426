"""Scripted servers that hand out credentials: answers in order, or held back by the test."""

import asyncio
from typing import Any

import msgspec

from scripted import Peer, Request


class Desk:
    """Answers request number n with answer number n; the last one is given again.

    An answer is a status and a body (a text, or JSON from anything else), or a function that
    makes them from the request. `held` is an event that all answers after the first wait for.
    """

    def __init__(self, *answers: Any, held: asyncio.Event | None = None) -> None:
        self.answers = answers
        self.held = held

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            number = len(peer.server.requests) - 1
            if self.held is not None and number > 0:
                await self.held.wait()
            status, body = self._find(number, request)
            data = body.encode() if isinstance(body, str) else msgspec.json.encode(body)
            await peer.answer(data, status)

    def _find(self, number: int, request: Request) -> tuple[int, Any]:
        answer = self.answers[min(number, len(self.answers) - 1)]
        made = answer(request) if callable(answer) else answer
        status, body = made
        return status, body


def token(text: str, life_s: float = 3600) -> tuple[int, dict[str, Any]]:
    """An OAuth token as Google's servers answer it."""
    return 200, {"access_token": text, "expires_in": life_s, "token_type": "Bearer"}
