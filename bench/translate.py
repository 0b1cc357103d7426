"""What translation costs over the tap: CPU time a request and a streamed event, each wire.

In one process, without sockets: the same chat request is fitted to a target of each wire, and
an answer of the same text in that wire's format is brought back. Rounds go through all wires in
turn; a difference to the tap is taken inside a round.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version

from bench.report import (
    Spread,
    build_bars,
    build_table,
    date_line,
    judge,
    measure_busy,
    warn_if_busy,
    write_section,
)
from bench.server import BODY_BYTES, CHAT, build_body

from trunkline.call import Deadlines
from trunkline.routing.ask import Ask
from trunkline.routing.fit import OPENAI_CHAT
from trunkline.routing.table import Columns, Route, Row, Target, Wire
from trunkline.wire.change import Changes
from trunkline.wire.event_stream import write_message
from trunkline.wire.mend import Stamp
from trunkline.wire.reply import Pair

EVENT_BAR_US, REQUEST_BAR_US = 25.0, 60.0
PIECES = 200
CALLS, STREAMS = 300, 5
TEXT = "The quick brown fox jumps over the lazy dog, and then it does so again. " * 5
TOKEN = " jumps"
STAMP = Stamp("chatcmpl-benchbenchbenchbenchbench", "bench", 1790000000)


@dataclass
class Sample:
    """One wire's answers: a whole one, and a stream's frames with a token each."""

    wire: Wire
    whole: bytes
    before: list[bytes]
    token: bytes
    behind: list[bytes]
    request_us: list[float] = field(default_factory=list)
    event_us: list[float] = field(default_factory=list)


def encode(value: object) -> bytes:
    """JSON as servers write it."""
    return json.dumps(value, separators=(",", ":")).encode()


def frame(value: object, event: str = "") -> bytes:
    """One server-sent event."""
    name = f"event: {event}\n".encode() if event else b""
    return name + b"data: " + encode(value) + b"\n\n"


def sample_openai() -> Sample:
    """OpenAI's chat format: tapped."""
    head = {"id": "chatcmpl-1", "created": 1790000000, "model": "bench"}
    usage = {"prompt_tokens": 40, "completion_tokens": 100, "total_tokens": 140}
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}

    def chunk(delta: object, reason: str | None = None) -> bytes:
        part = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return frame({**head, "object": "chat.completion.chunk", "choices": [part]})

    first = chunk({"role": "assistant", "content": "The"})
    end = [chunk({}, "stop"), b"data: [DONE]\n\n"]
    return Sample("openai", encode(whole), [first], chunk({"content": TOKEN}), end)


def sample_anthropic() -> Sample:
    """Anthropic's Messages."""
    usage = {"input_tokens": 40, "output_tokens": 100}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "bench"}
    block = {"type": "text", "text": TEXT}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    open_end = {"stop_reason": None, "stop_sequence": None}
    start: dict[str, object] = {**head, "content": [], **open_end, "usage": usage}
    opened = {"type": "content_block_start", "index": 0}
    delta = {"type": "content_block_delta", "index": 0}
    closing = {"type": "message_delta", "delta": end, "usage": {"output_tokens": 100}}
    return Sample(
        "anthropic",
        encode({**head, "content": [block], **end, "usage": usage}),
        [
            frame({"type": "message_start", "message": start}, "message_start"),
            frame({**opened, "content_block": {"type": "text", "text": ""}}, "content_block_start"),
            frame({**delta, "delta": {"type": "text_delta", "text": "The"}}, "content_block_delta"),
        ],
        frame({**delta, "delta": {"type": "text_delta", "text": TOKEN}}, "content_block_delta"),
        [
            frame({"type": "content_block_stop", "index": 0}, "content_block_stop"),
            frame(closing, "message_delta"),
            frame({"type": "message_stop"}, "message_stop"),
        ],
    )


def sample_gemini() -> Sample:
    """Gemini's generateContent."""
    usage = {"promptTokenCount": 40, "candidatesTokenCount": 100, "totalTokenCount": 140}

    def answer(text: str, **more: object) -> dict[str, object]:
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}
        tail = {"usageMetadata": usage, "modelVersion": "bench", "responseId": "r1"}
        return {"candidates": [candidate], **tail}

    whole = encode(answer(TEXT, finishReason="STOP"))
    end = [frame(answer("", finishReason="STOP"))]
    return Sample("gemini", whole, [frame(answer("The"))], frame(answer(TOKEN)), end)


def sample_bedrock() -> Sample:
    """Bedrock's Converse, its stream in AWS's binary framing."""
    usage = {"inputTokens": 40, "outputTokens": 100, "totalTokens": 140}
    message = {"role": "assistant", "content": [{"text": TEXT}]}
    whole = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}

    def event(kind: str, value: object) -> bytes:
        headers = {":event-type": kind, ":content-type": "application/json"}
        return write_message({**headers, ":message-type": "event"}, encode(value))

    def delta(text: str) -> bytes:
        return event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}})

    return Sample(
        "bedrock",
        encode({**whole, "metrics": {"latencyMs": 5}}),
        [event("messageStart", {"role": "assistant"}), delta("The")],
        delta(TOKEN),
        [
            event("contentBlockStop", {"contentBlockIndex": 0}),
            event("messageStop", {"stopReason": "end_turn"}),
            event("metadata", {"usage": usage, "metrics": {"latencyMs": 5}}),
        ],
    )


def sample_cohere() -> Sample:
    """Cohere's v2 chat."""
    usage = {"tokens": {"input_tokens": 40, "output_tokens": 100}}
    message = {"role": "assistant", "content": [{"type": "text", "text": TEXT}]}
    whole = {"id": "c1", "finish_reason": "COMPLETE", "message": message, "usage": usage}

    def delta(text: str) -> bytes:
        content = {"message": {"content": {"text": text}}}
        return frame({"type": "content-delta", "index": 0, "delta": content}, "content-delta")

    begin = {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant"}}}
    part = {"message": {"content": {"type": "text", "text": ""}}}
    end = {"finish_reason": "COMPLETE", "usage": usage}
    return Sample(
        "cohere",
        encode(whole),
        [
            frame(begin, "message-start"),
            frame({"type": "content-start", "index": 0, "delta": part}, "content-start"),
            delta("The"),
        ],
        delta(TOKEN),
        [
            frame({"type": "content-end", "index": 0}, "content-end"),
            frame({"type": "message-end", "id": "c1", "delta": end}, "message-end"),
        ],
    )


SAMPLES: tuple[Callable[[], Sample], ...] = (
    sample_openai,
    sample_anthropic,
    sample_gemini,
    sample_bedrock,
    sample_cohere,
)


def open_pair(sample: Sample, body: bytes) -> Pair:
    """Read a client's body and fit it to a target of the sample's wire."""
    row = Row(wire=sample.wire)
    target = Target("mock", "bench", row)
    columns = Columns(max_output=4096)
    route = Route("bench", (target,), columns, Deadlines())
    request = OPENAI_CHAT.read(body)
    (pair,) = OPENAI_CHAT.fit(request, route, target, Ask(STAMP, Changes())).pairs
    return pair


def measure_request(sample: Sample, body: bytes) -> None:
    """CPU time of one request, both ways, without its HTTP."""
    begin = time.process_time_ns()
    for _ in range(CALLS):
        pair = open_pair(sample, body)
        pair.write_request()
        answer = pair.read_answer(sample.whole)
    spent_ns = time.process_time_ns() - begin
    if TEXT.encode() not in answer.body or answer.usage is None:
        raise SystemExit(f"{sample.wire}: wrong answer {answer.body!r}")
    sample.request_us.append(spent_ns / 1000 / CALLS)


def measure_events(sample: Sample, body: bytes) -> None:
    """CPU time of one token's event in the middle of a stream."""
    spent_ns = 0
    for _ in range(STREAMS):
        reply = open_pair(sample, body).open_stream()
        out = [reply.feed(piece) for piece in sample.before]
        begin = time.process_time_ns()
        out += [reply.feed(sample.token) for _ in range(PIECES)]
        spent_ns += time.process_time_ns() - begin
        out += [reply.feed(piece) for piece in sample.behind]
        out.append(reply.finish())
        if b"".join(out).count(TOKEN.encode()) != PIECES:
            raise SystemExit(f"{sample.wire}: pieces are missing")
    sample.event_us.append(spent_ns / 1000 / PIECES / STREAMS)


def main() -> None:
    """Measure all wires in turn, print the table and the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    arguments = parser.parse_args()
    busy = measure_busy()
    warn_if_busy(busy)
    samples = [build() for build in SAMPLES]
    bodies = [build_body(CHAT, "bench", stream=stream) for stream in (False, True)]
    for turn in range(arguments.rounds + 1):
        for sample in samples:
            measure_request(sample, bodies[0])
            measure_events(sample, bodies[1])
        if turn == 0:  # a first round warms caches and imports
            for sample in samples:
                sample.request_us.clear()
                sample.event_us.clear()
    report(samples, busy, arguments)


def report(samples: list[Sample], busy: float, arguments: argparse.Namespace) -> None:
    """Print and, if asked, write what was measured."""
    tap = samples[0]
    rows, bars = [], []
    for sample in samples:
        over = [
            Spread.of([one - other for one, other in zip(mine, base, strict=True)])
            for mine, base in (
                (sample.request_us, tap.request_us),
                (sample.event_us, tap.event_us),
            )
        ]
        rows.append(
            [
                sample.wire,
                Spread.of(sample.request_us).show(),
                over[0].show(),
                Spread.of(sample.event_us).show(),
                over[1].show(),
            ]
        )
        if sample is not tap:
            bars += [
                judge(f"{sample.wire}, a request over the tap, µs", over[0].median, REQUEST_BAR_US),
                judge(f"{sample.wire}, an event over the tap, µs", over[1].median, EVENT_BAR_US),
            ]
    head = ["wire", "µs a request", "over the tap", "µs an event", "over the tap"]
    parts = [
        date_line([f"trunkline {version('trunkline')}"], busy),
        (
            f"Medians of {arguments.rounds} rounds (smallest to largest); a request of "
            f"{BODY_BYTES} bytes, an answer of {len(TEXT)} characters; no sockets."
        ),
        build_table(head, rows),
        build_bars(bars),
    ]
    text = "\n\n".join(parts)
    print(text)
    if arguments.write:
        write_section("translate", text)


if __name__ == "__main__":
    main()
