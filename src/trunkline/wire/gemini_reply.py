"""Google's generateContent format, upstream side: what an answer or a stream says.

Gemini API reference, "GenerateContentResponse"; its pages "Thinking", "Thought signatures",
"Function calling" and "Grounding with Google Search"; Vertex AI's reference of the same types
(read 2026-11-22). Each frame of a stream is an answer with a piece of the candidate; some models
say STOP in every frame, so the last word counts and is given out when the stream has ended.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.events import (
    Began,
    CompletionDetails,
    Event,
    Finish,
    FinishReason,
    PromptDetails,
    ReasoningDelta,
    ReasoningSeal,
    TextDelta,
    ToolDelta,
    ToolStart,
    Usage,
)
from trunkline.wire.gemini_citation import CitationMetadata, GroundingMetadata, list_citations
from trunkline.wire.gemini_failure import read_inside, read_tail
from trunkline.wire.reason import read_reason
from trunkline.wire.reply import incomplete
from trunkline.wire.sse import Frame
from trunkline.wire.translate import SseEvents

_UNSET: Final = "FINISH_REASON_UNSPECIFIED"


class FunctionCall(msgspec.Struct, gc=False):
    """A call of a function; ``args`` is an object, and some models give no id."""

    name: str
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"{}")


class Part(msgspec.Struct, gc=False, rename="camel"):
    """A piece of content; those of other sorts are empty here."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None


class Content(msgspec.Struct, gc=False):
    """What the model said."""

    parts: list[Part] | None = None


class Candidate(msgspec.Struct, gc=False, rename="camel"):
    """One alternative, or a piece of it."""

    content: Content | None = None
    finish_reason: str | None = None
    index: int | None = None
    citation_metadata: CitationMetadata | None = None
    grounding_metadata: GroundingMetadata | None = None


class ModalityCount(msgspec.Struct, gc=False, rename="camel"):
    """Tokens of one sort of content."""

    modality: str | None = None
    token_count: int | None = None


class UsageMetadata(msgspec.Struct, gc=False, rename="camel"):
    """Tokens so far; frames before the last one often have none."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    total_token_count: int | None = None
    prompt_tokens_details: list[ModalityCount] | None = None
    candidates_tokens_details: list[ModalityCount] | None = None


class PromptFeedback(msgspec.Struct, gc=False, rename="camel"):
    """Why a prompt was refused."""

    block_reason: str | None = None


class Response(msgspec.Struct, gc=False, rename="camel"):
    """An answer, or one frame of a stream."""

    candidates: list[Candidate] | None = None
    usage_metadata: UsageMetadata | None = None
    prompt_feedback: PromptFeedback | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None


_DECODER: Final = msgspec.json.Decoder(Response)


def read_whole(body: bytes) -> list[Event]:
    """A whole answer as events; raises ``upstream_error`` when it is none."""
    reading = _Reading()
    return [*reading.read(_DECODER.decode(body)), *reading.end()]


class GeminiReader(SseEvents):
    """Reads one streamed reply."""

    def __init__(self) -> None:
        super().__init__()
        self._reading = _Reading()

    def read_frame(self, frame: Frame) -> list[Event]:
        """See ``SseEvents``."""
        if frame.data == b"[DONE]":
            return []
        if frame.event == b"error":
            raise read_inside(msgspec.json.decode(frame.data))
        return self._reading.read(_DECODER.decode(frame.data))

    def finish(self) -> Iterator[Event]:
        """See ``EventReader``."""
        failure = read_tail(self._sse.rest)
        if failure is not None:
            raise failure
        yield from super().finish()
        yield from self._reading.end()

    def is_complete(self) -> bool:
        """See ``SseEvents``."""
        return self._reading.native != ""


class _Reading:
    """What has been read of one reply; of several alternatives only the first counts."""

    def __init__(self) -> None:
        self.native = ""
        self._reason: FinishReason = "stop"
        self._id: str | None = None
        self._texts: list[str] = []
        self._slot = 0
        self._quoted: list[CitationMetadata] = []
        self._grounded: GroundingMetadata | None = None

    def read(self, response: Response) -> list[Event]:
        """The events of an answer or a frame; raises for a failure that is told inside."""
        if response.error is not None:
            raise read_inside(response.error)
        out: list[Event] = []
        if self._id is None:
            self._id = response.response_id or ""
            out.append(Began(self._id, response.model_version or ""))
        for candidate in response.candidates or ():
            if not candidate.index:
                self._read_candidate(candidate, out)
        if response.usage_metadata is not None:
            usage = _read_usage(response.usage_metadata)
            if usage is not None:
                out.append(usage)
        feedback = response.prompt_feedback
        if feedback is not None and feedback.block_reason and not response.candidates:
            self._reason, self.native = "content_filter", feedback.block_reason
        return out

    def end(self) -> Iterator[Event]:
        """The last events; raises ``upstream_error`` when nobody has said why it ended."""
        if not self.native:
            raise incomplete()
        if self._grounded is not None or self._quoted:
            yield from list_citations("".join(self._texts), self._grounded, self._quoted)
        yield Finish(self._reason, self.native)

    def _read_candidate(self, candidate: Candidate, out: list[Event]) -> None:
        content = candidate.content
        if content is not None and content.parts:
            for part in content.parts:
                self._read_part(part, out)
        if candidate.grounding_metadata is not None:
            self._grounded = candidate.grounding_metadata
        if candidate.citation_metadata is not None:
            self._quoted.append(candidate.citation_metadata)
        word = candidate.finish_reason
        if word and word != _UNSET:
            self._reason, self.native = read_reason(word), word

    def _read_part(self, part: Part, out: list[Event]) -> None:
        if part.function_call is not None:
            self._read_call(part.function_call, part.thought_signature or "", out)
            return
        text = part.text
        if text:
            if part.thought:
                out.append(ReasoningDelta(text))
            else:
                self._texts.append(text)
                out.append(TextDelta(text))
        if part.thought_signature:
            out.append(ReasoningSeal(part.thought_signature))

    def _read_call(self, call: FunctionCall, signature: str, out: list[Event]) -> None:
        """Raises ``upstream_error`` for arguments that are no object."""
        args = bytes(call.args)
        arguments = "{}" if args == b"null" else msgspec.json.format(args, indent=-1).decode()
        if not arguments.startswith("{"):
            raise GatewayError("upstream_error", "The upstream's tool call has no object in it.")
        slot = self._slot
        self._slot += 1
        name = call.id or _make_id(self._id or "", slot, call.name, arguments)
        out.append(ToolStart(slot, name, call.name, signature))
        out.append(ToolDelta(slot, arguments))


def _make_id(*parts: object) -> str:
    """An id for a call that came without: the same whenever the same reply is read."""
    said = "\0".join(str(part) for part in parts).encode()
    return f"call_{blake2b(said, digest_size=12).hexdigest()}"


def _read_usage(counts: UsageMetadata) -> Usage | None:
    """Thoughts and tools' results are counted apart; cached tokens are part of the prompt's.

    None where nothing is counted: no prompt is empty, so zeros are no counts either.
    """
    if not counts.prompt_token_count and not counts.total_token_count:
        return None
    prompt = (counts.prompt_token_count or 0) + (counts.tool_use_prompt_token_count or 0)
    completion = (counts.candidates_token_count or 0) + (counts.thoughts_token_count or 0)
    usage = Usage(prompt, completion, prompt + completion)
    heard = _count_audio(counts.prompt_tokens_details)
    if counts.cached_content_token_count is not None or heard is not None:
        usage.prompt_tokens_details = PromptDetails(counts.cached_content_token_count, heard)
    spoken = _count_audio(counts.candidates_tokens_details)
    if counts.thoughts_token_count is not None or spoken is not None:
        usage.completion_tokens_details = CompletionDetails(counts.thoughts_token_count, spoken)
    return usage


def _count_audio(counts: list[ModalityCount] | None) -> int | None:
    for count in counts or ():
        if count.modality == "AUDIO":
            return count.token_count
    return None
