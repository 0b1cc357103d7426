"""The official SDKs as clients of the matrix: what their users get."""

from typing import Any, Self

import httpx
import msgspec
import openai
import scale_gp
import scale_gp_beta

from matrix.case import Case, Client

PROMPT = "Say what you were told to say."
LIMIT = 200


class Got(msgspec.Struct):
    """What an SDK's user has in the end: a text, and the exception that ended the call."""

    text: str = ""
    finish_reason: str | None = None
    error: Exception | None = None


class Sdks:
    """All three against one gateway; used as a context."""

    def __init__(self, url: str, key: str, account: str) -> None:
        options: dict[str, Any] = {"api_key": key, "max_retries": 0, "timeout": 30}
        self.v4 = scale_gp.AsyncSGPClient(base_url=url, account_id=account, **options)
        self.v5 = scale_gp_beta.AsyncSGPClient(base_url=url, account_id=account, **options)
        self.openai = openai.AsyncOpenAI(base_url=f"{url}/v1", **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in (self.v4, self.v5, self.openai):
            await client.close()

    async def ask(self, case: Case, client: Client) -> Got:
        """Ask once, as a user would; never raises."""
        got = Got()
        try:
            if client == "v4":
                await self._ask_v4(case, got)
            else:
                await self._ask_chat(case, client, got)
        except (httpx.HTTPError, openai.OpenAIError) as error:
            got.error = error
        except (scale_gp.SGPClientError, scale_gp_beta.SGPClientError) as error:
            got.error = error
        return got

    async def _ask_v4(self, case: Case, got: Got) -> None:
        asked: Any = {"model": case.name_public("v4"), "prompt": PROMPT}
        asked["model_parameters"] = {"max_tokens": LIMIT}
        if not case.stream:
            whole: Any = await self.v4.completions.create(**asked)
            got.text, got.finish_reason = whole.completion.text, whole.completion.finish_reason
            return
        async for chunk in await self.v4.completions.create(**asked, stream=True):
            completion: Any = chunk.completion
            got.text += completion["text"]
            got.finish_reason = completion.get("finish_reason") or got.finish_reason

    async def _ask_chat(self, case: Case, client: Client, got: Got) -> None:
        sdk: Any = self.v5 if client == "v5" else self.openai
        asked = {"model": case.name_public(client), "max_tokens": LIMIT}
        messages = [{"role": "user", "content": PROMPT}]
        answer = await sdk.chat.completions.create(messages=messages, stream=case.stream, **asked)
        if not case.stream:
            choice = answer.choices[0]
            got.text, got.finish_reason = choice.message.content or "", choice.finish_reason
            return
        async for chunk in answer:
            for choice in chunk.choices:
                got.text += choice.delta.content or ""
                got.finish_reason = choice.finish_reason or got.finish_reason


def list_expected(client: Client, status: int) -> tuple[type[Exception], ...]:
    """The exception of an SDK: of a failure with this status, or for 0, in a stream that began.

    docs/contract.md, Errors: measured on the official clients.
    """
    if status == 0:
        late: dict[Client, type[Exception]] = {
            "v4": scale_gp.APIStatusError,
            "v5": httpx.RemoteProtocolError,
            "openai": openai.APIError,
        }
        return (late[client],)
    sdk: Any = {"v4": scale_gp, "v5": scale_gp_beta, "openai": openai}[client]
    named = {
        400: sdk.BadRequestError,
        401: sdk.AuthenticationError,
        403: sdk.PermissionDeniedError,
        404: sdk.NotFoundError,
        409: sdk.ConflictError,
        422: sdk.UnprocessableEntityError,
        429: sdk.RateLimitError,
    }
    return (sdk.InternalServerError if status >= 500 else named.get(status, sdk.APIStatusError),)
