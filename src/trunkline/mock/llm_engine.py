"""The mock's LLM Engine, version 1: raw prompts, whole and streamed.

Its second version has OpenAI's shapes. ``api/llms_v1.py`` and ``common/dtos/llms/completion.py``
in scaleapi/llm-engine (read 2026-11-22).
"""

from typing import Any, Final

from trunkline.mock.behaviour import Asked
from trunkline.mock.voice import (
    WINDOW_TOKENS,
    Answer,
    Frame,
    Json,
    Refusal,
    Voice,
    encode,
    write_sse,
)


def write_whole(_asked: Asked, answer: Answer) -> Json:
    """A whole answer."""
    output: Json = {"text": answer.text}
    if answer.usage:
        output |= {"num_prompt_tokens": answer.usage[0], "num_completion_tokens": answer.usage[1]}
    return {"request_id": answer.id, "output": output}


def list_frames(_asked: Asked, answer: Answer) -> list[Frame]:
    """A streamed answer; each frame counts what has come so far."""
    frames = [
        Frame(_write(answer, piece, count), "content", text=piece)
        for count, piece in enumerate(answer.pieces[0], 1)
    ]
    made = answer.usage[1] if answer.usage else 0
    return [*frames, Frame(_write(answer, "", made, is_last=True), "finish")]


def write_error(refusal: Refusal) -> Json:
    """An error body: FastAPI's ``detail``, or what vLLM said for an over-long prompt."""
    if refusal.sort == "context":
        error = {
            "message": f"This model's maximum context length is {WINDOW_TOKENS} tokens.",
            "type": "BadRequestError",
            "param": "input_tokens",
            "code": 400,
        }
        return {"detail": {"error": error}}
    return {"detail": refusal.message}


def write_inside() -> Frame:
    """An error in the middle of a stream."""
    error: dict[str, Any] = {"status_code": 500, "content": {"error": "The mock failed."}}
    return Frame(encode({"request_id": "r1", "error": error}), "done")


def _write(answer: Answer, text: str, count: int, *, is_last: bool = False) -> bytes:
    output: Json = {"text": text, "finished": is_last}
    if answer.usage:
        output |= {"num_prompt_tokens": answer.usage[0], "num_completion_tokens": count}
    return encode({"request_id": answer.id, "output": output})


VOICE: Final = Voice(write_whole, list_frames, write_error, write_inside, write_sse)
