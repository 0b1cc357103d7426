"""Tokens known at a glance: whatever comes, the answer is what decoding every frame gives."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire.llama_cpp import EngineReply
from trunkline.wire.reply import StreamReply
from trunkline.wire.stencil import Stencil
from wire.sample import (
    STREAMS,
    any_json,
    make_chunk,
    open_chat,
    open_native,
    open_text,
    read_case,
    some_examples,
    split,
    write_frames,
)

Open = Callable[[], StreamReply]
NAMES = [f"{number}:{name}" for number, (name, _) in enumerate(STREAMS)]
OPENED = pytest.mark.parametrize(
    "opened",
    [
        open_chat,
        lambda: open_chat(done=True, include_usage=True),
        open_native,
        lambda: EngineReply(open_chat(done=True)),
        lambda: EngineReply(open_native()),
    ],
    ids=["chat", "openai", "native", "engine chat", "engine native"],
)
STOP = make_chunk({}, "stop")


class Heard:
    """What a reply has given so far, and how many of its pieces were known at a glance."""

    def __init__(self, reply: StreamReply, *, glances: bool) -> None:
        self.reply = reply
        self.out: list[bytes] = []
        self.glances = 0
        self._glances = glances

    def feed(self, piece: bytes) -> None:
        """Feed a piece as the delivery does, framed as a chunk."""
        chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
        known = None
        if self._glances:
            known = self.reply.feed_token(chunk, len(chunk) - len(piece) - 2, len(chunk) - 2)
        if known is None:
            self.out.append(self.reply.feed(piece))
        else:
            self.glances += 1
            self.out.append(piece if known is chunk else known)

    def state(self) -> tuple[Any, ...]:
        reply = self.reply
        return (
            b"".join(self.out),
            reply.content_seen,
            reply.usage,
            reply.counted,
            reply.pieces,
            reply.finish_reason,
        )


def hear(reply: StreamReply, pieces: list[bytes], *, glances: bool) -> tuple[Heard, list[Any]]:
    """Feed the pieces and finish; the state after each, and the failure, if one came."""
    heard, states = Heard(reply, glances=glances), []
    try:
        for piece in pieces:
            heard.feed(piece)
            states.append(heard.state())
        heard.out.append(reply.finish())
    except GatewayError as error:
        states.append((error.code, error.message))
    states.append(heard.state())
    return heard, states


def compare(opened: Open, pieces: list[bytes]) -> int:
    """The same with and without glances, after each piece; how many were known at a glance."""
    heard, states = hear(opened(), pieces, glances=True)
    assert states == hear(opened(), pieces, glances=False)[1]
    return heard.glances


def tokens(*texts: str) -> list[bytes]:
    return [write_frames(make_chunk({"content": text})) for text in texts]


@OPENED
def test_a_plain_token_is_known_by_the_one_before(opened: Open) -> None:
    pieces = [*tokens("first", "one", " two", "#3 ", "~!", "four"), write_frames(STOP)]
    assert compare(opened, pieces) == 4


@pytest.mark.parametrize(("name", "opened"), STREAMS, ids=NAMES)
def test_a_recorded_stream_is_the_same(name: str, opened: Open) -> None:
    frames = read_case(name).split(b"\n\n")
    compare(opened, [frame + b"\n\n" for frame in frames[:-1]] + frames[-1:])


@pytest.mark.parametrize(("name", "opened"), STREAMS, ids=NAMES)
@some_examples
@given(data=st.data())
def test_a_recorded_stream_is_the_same_cut_anywhere(
    name: str, opened: Open, data: st.DataObject
) -> None:
    stream = read_case(name)
    ends = [at + 2 for at in range(len(stream)) if stream.startswith(b"\n\n", at)]
    places = st.sampled_from(ends) | st.integers(0, len(stream))
    compare(opened, split(stream, *data.draw(st.lists(places, max_size=30))))


REPLACED = [
    ('"content": "X"', '"content": "say \\"X\\""'),
    ('"content": "X"', '"content": "\\u0058"'),
    ('"content": "X"', '"content": "\\\\"'),
    ('"content": "X"', '"content": "line\\n"'),
    ('"content": "X"', '"content": "\n"'),
    ('"content": "X"', '"content": "\t"'),
    ('"content": "X"', '"content": ""'),
    ('"content": "X"', '"content": "\x7f"'),
    ('"content": "X"', '"content": "grün"'),
    ('"content": "X"', '"content": null'),
    ('"content": "X"', '"content": 1'),
    ('"content": "X"', '"content": "X", "content": "Y"'),
    ('"content": "X"', '"content": "X", "role": "robot"'),
    ('"content": "X"', '"content": "X", "refusal": "no"'),
    ('"content": "X"', '"content": "X", "reasoning": "hm"'),
    ('"content": "X"', '"content": "X"}, "error": {"message": "sk-secret"'),
    ('"finish_reason": null', '"finish_reason": "stop"'),
    ('"finish_reason": null', '"finish_reason": "length", "x": "X"'),
    ('"index": 0', '"index": 1'),
    ('"model": "m"', '"model": "X"'),
    ('"model": "m"', '"model": "m", "X": 1'),
    ('"model": "m"', '"model": "m", "error": "sk-secret"'),
    ('"model": "m"', '"model": "m", "usage": null'),
    (
        '"model": "m"',
        '"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}',
    ),
    ('"id": "c1"', '"id": "c1", "id": "c2"'),
    ('"created": 1', '"created": 2'),
    ("data: ", "event: error\ndata: "),
    ("data: ", ": ping\n\ndata: "),
    ("data: ", "data:"),
    ("\n\n", "\n"),
    ("\n\n", "\r\n\r\n"),
    ("\n\n", "\n\ndata: [DONE]\n\n"),
]


@OPENED
@pytest.mark.parametrize(("old", "new"), REPLACED)
def test_a_frame_that_differs_in_more_is_read(opened: Open, old: str, new: str) -> None:
    plain = f"data: {json.dumps(make_chunk({'content': 'X'}))}\n\n"
    assert old in plain
    other = plain.replace(old, new)
    for text in ("X", "Y", "first"):
        same, odd = (frame.replace('"X"', f'"{text}"').encode() for frame in (plain, other))
        for pieces in ([same, same, odd, same], [odd, odd, same, odd], [same, odd, odd, odd]):
            compare(opened, [*tokens("first", "second"), *pieces, write_frames(STOP)])


@OPENED
@pytest.mark.parametrize("name", ["model", "id", "role", "x", "object"])
def test_a_text_that_stands_elsewhere_too_is_not_mistaken(opened: Open, name: str) -> None:
    """The text is spelled with an escape, and the same word as it is stands in another place."""

    def spell(word: str) -> bytes:
        delta = {"role": "assistant", "content": "?"} | ({name: word} if name == "role" else {})
        chunk = make_chunk(delta, **({} if name == "role" else {name: word}))
        return write_frames(json.dumps(chunk).replace('"?"', '"\\u0075ser"').encode())

    pieces = [spell("user"), spell("user"), spell("robot"), spell("users"), spell("user")]
    compare(opened, [*tokens("first"), *pieces, *tokens("last"), write_frames(STOP)])


@OPENED
def test_a_token_behind_half_a_frame_waits_for_it(opened: Open) -> None:
    for at in range(1, len(tokens("half")[0])):
        half = tokens("half")[0]
        pieces = [*tokens("first", "second"), half[:at], *tokens("third"), half[at:]]
        compare(opened, [*pieces, *tokens("last"), write_frames(STOP)])


@OPENED
@some_examples
@given(data=st.data())
def test_any_frames_that_resemble_each_other_are_told_apart(
    opened: Open, data: st.DataObject
) -> None:
    """Frames of few parts in any order, as few texts at many places, so that they collide."""
    word = st.sampled_from(["a", "b", "stop", "content", 'q"', "\\", "\n", "ü", "", "a?"])
    name = st.sampled_from(["content", "role", "refusal", "reasoning_content", "x", 'x"content'])
    field = st.tuples(name, word | st.none())
    asides = st.tuples(st.sampled_from(["x", "error", "usage", "id", "object"]), word | st.none())
    pieces = []
    for _ in range(data.draw(st.integers(1, 8))):
        delta = write_pairs(data.draw(st.lists(field, max_size=3)))
        reason = data.draw(st.sampled_from([None, None, None, "stop"]))
        choice = {"index": data.draw(st.integers(0, 1)), "finish_reason": reason}
        inner = json.dumps(choice)[:-1] + f', "delta": {delta}}}'
        chunk = json.dumps({**make_chunk(), "choices": 0}).replace('"choices": 0', "")
        extra = write_pairs(data.draw(st.lists(asides, max_size=2)))[1:-1]
        frame = f'{chunk[:-1]}"choices": [{inner}]{", " + extra if extra else ""}}}'
        pieces += [f"data: {frame}\n\n".encode()] * data.draw(st.integers(1, 3))
    compare(opened, [*tokens("first"), *pieces, write_frames(STOP)])


def write_pairs(pairs: list[tuple[str, Any]]) -> str:
    """A JSON object; a name may stand in it twice."""
    fields = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs)
    return "{" + ", ".join(fields) + "}"


@some_examples
@given(data=st.data())
def test_any_change_of_bytes_is_noticed(data: st.DataObject) -> None:
    token = tokens("a token")[0]
    pieces = tokens("first", "second")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(token)))
        size = data.draw(st.integers(0, 3))
        new = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"\n", b"\0", b"}"]))
        pieces.append(token[:at] + new + token[at + size :])
    for opened in (open_chat, open_native):
        compare(opened, [*pieces, write_frames(STOP)])


@some_examples
@given(value=any_json)
def test_any_json_after_tokens_is_read(value: Any) -> None:
    for opened in (open_chat, open_native):
        compare(opened, [*tokens("first", "second", "third"), write_frames(value), *tokens("x")])


def test_the_legacy_text_is_known_too() -> None:
    def token(text: str) -> bytes:
        choice = {"index": 0, "text": text, "finish_reason": None}
        return write_frames({**make_chunk(), "object": "text_completion", "choices": [choice]})

    pieces = [token(text) for text in ("first", "second", "third", "fourth")]
    assert compare(open_text, pieces) == 2
    assert compare(lambda: open_native("text"), pieces) == 2


def test_thoughts_and_then_words_are_known() -> None:
    thoughts = [write_frames(make_chunk({"reasoning_content": text})) for text in "abcd"]
    assert compare(open_chat, [*thoughts, *tokens(*"abcd"), write_frames(STOP)]) == 5


def test_a_stream_that_varies_elsewhere_too_is_soon_left_alone() -> None:
    reads = 0

    def read(body: bytes) -> str:
        nonlocal reads
        reads += 1
        text: str = json.loads(body)["text"]
        return text

    stencil = Stencil()
    for number in range(50):
        frame = write_frames({"text": "word", "padding": "x" * number})
        assert stencil.match(frame, 0, len(frame)) is None
        stencil.learn(frame, "word", read, number)
    assert 0 < reads < 10


def test_a_stream_with_a_new_time_each_second_is_learned_again_and_again() -> None:
    pieces = []
    for second in range(20):
        chunks = [make_chunk({"content": f"{second}/{n}"}, created=second) for n in range(5)]
        pieces += [write_frames(chunk) for chunk in chunks]
    assert compare(open_chat, [*pieces, write_frames(STOP)]) >= 20 * 3


def test_two_choices_in_turn_are_told_apart() -> None:
    pieces = []
    for number in range(10):
        chunk = make_chunk({"content": f"{number}"})
        chunk["choices"][0]["index"] = number % 2
        pieces.append(write_frames(chunk))
    compare(open_chat, pieces)
    ends = [make_chunk({}, "stop"), make_chunk({"content": "late"}), make_chunk({"content": "er"})]
    compare(open_chat, [*pieces, *(write_frames(end) for end in ends)])


def test_a_choice_that_has_ended_is_not_known_any_more() -> None:
    reply = open_chat()
    for piece in [*tokens("first", "second"), write_frames(STOP)]:
        reply.feed(piece)
    token = tokens("third")[0]
    assert reply.feed_token(token, 0, len(token)) is None
