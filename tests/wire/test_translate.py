"""The bridge itself; what each format makes of it is tested beside the format."""

from collections.abc import Callable, Iterable, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.chat import TextRequest
from trunkline.errors import GatewayError
from trunkline.events import Event, Finish, TextDelta, Usage
from trunkline.wire import llm_engine
from trunkline.wire.change import Changes
from trunkline.wire.openai_write import ChatWriter
from trunkline.wire.reply import StreamReply
from trunkline.wire.sgp import CompletionWriter
from trunkline.wire.sse import Frame
from trunkline.wire.translate import (
    ClientWriter,
    SseEvents,
    TranslatedPair,
    TranslatedReply,
    read_whole,
)
from wire.sample import fail, make_stamp, play, read_case, read_frames, some_examples, split
from wire.strict import read_chat, read_chat_stream, read_native

STREAM = read_case("llm_engine/stream.sse")
WHOLE = read_case("llm_engine/sync.json")


def open_chat() -> ClientWriter:
    return ChatWriter(make_stamp(), legacy=False, done=True, include_usage=True)


def open_native() -> ClientWriter:
    return CompletionWriter(make_stamp(), {})


def make_call() -> llm_engine.PromptCall:
    request = TextRequest("m", "p", stream=True, temperature=0.2)
    return llm_engine.open_call(request, "endpoint", Changes())


both = pytest.mark.parametrize("open_writer", [open_chat, open_native])
Open = Callable[[], ClientWriter]


@both
def test_a_pair_passes_the_calls_request_and_path_on(open_writer: Open) -> None:
    call = make_call()
    pair = TranslatedPair(call, open_writer())
    assert (pair.path, pair.write_request()) == (call.path, call.write_request())
    assert TranslatedPair(call, open_writer(), "/elsewhere").path == "/elsewhere"
    assert pair.open_fold() is None  # type: ignore[func-returns-value]


def test_one_upstream_serves_clients_of_both_formats() -> None:
    native = read_native(TranslatedPair(make_call(), open_native()).read_answer(WHOLE).body)
    for seen in read_chat(
        TranslatedPair(make_call(), open_chat()).read_answer(WHOLE).body
    ).values():
        assert seen.choices[0].message.content == native.completion.text == " a canvas of Grüße"
        assert seen.usage.total_tokens == 11
    out = play(TranslatedPair(make_call(), open_chat()).open_stream(), STREAM)
    chunks = read_chat_stream(out.replace(b"data: [DONE]\n\n", b""))["v4"]
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == " a canvas of Grüße 👋"


@both
@some_examples
@given(places=st.lists(st.integers(0, len(STREAM)), max_size=9))
def test_no_way_of_cutting_matters(open_writer: Open, places: list[int]) -> None:
    def read(*pieces: bytes) -> bytes:
        return play(TranslatedReply(make_call().open_reader(), open_writer()), *pieces)

    assert read(*split(STREAM, *places)) == read(STREAM)


class Scripted(SseEvents):
    """A made-up format: a frame is a text, or a word of what goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = False

    def read_frame(self, frame: Frame) -> Iterable[Event]:
        word = frame.data.decode()
        if word == "misfit":
            raise KeyError(word)
        if word == "failed":
            raise GatewayError("overloaded", "too much")
        if word == "usage":
            yield Usage(1, 2, 3)
        elif word == "end":
            self.ended = True
            yield Finish("stop", word)
        elif word == "mute":
            self.ended = True
        else:
            yield TextDelta(word)

    def is_complete(self) -> bool:
        return self.ended


def write(*words: str) -> bytes:
    return b"".join(b"data: %b\n\n" % word.encode() for word in words)


def read_texts(out: bytes) -> list[str]:
    chunks = [frame for frame in read_frames(out) if frame != "[DONE]"]
    return [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]


def open_scripted(writer: ClientWriter | None = None) -> StreamReply:
    return TranslatedReply(Scripted(), writer or open_chat())


@pytest.mark.parametrize(("word", "code"), [("misfit", "upstream_error"), ("failed", "overloaded")])
def test_what_stood_before_a_broken_frame_is_given_out(word: str, code: str) -> None:
    stream = write("a", "b", word, "c", "end")
    for pieces in ([stream], split(stream, 9), [stream[i : i + 1] for i in range(len(stream))]):
        out, error = fail(open_scripted(), *pieces)
        assert read_texts(out) == ["a", "b"]
        assert error.code == code


@pytest.mark.parametrize("word", ["misfit", "failed"])
def test_a_broken_reply_stays_broken(word: str) -> None:
    reply = open_scripted()
    assert reply.feed(write("a", word))
    for _ in range(2):
        with pytest.raises(GatewayError):
            reply.feed(write("b", "end"))
    with pytest.raises(GatewayError):
        reply.finish()


def test_an_end_without_the_formats_own_is_an_error() -> None:
    _, error = fail(open_scripted(), write("a"))
    assert error.code == "upstream_error"
    with pytest.raises(GatewayError, match="ended before it was complete"):
        list(Scripted().finish())


@both
def test_an_end_without_a_finish_reason_is_an_error(open_writer: Open) -> None:
    _, error = fail(open_scripted(open_writer()), write("a", "mute"))
    assert error.code == "upstream_error"


def test_a_last_frame_without_its_blank_line_is_read() -> None:
    out = play(open_scripted(), write("a", "end").removesuffix(b"\n\n"))
    assert read_texts(out) == ["a", None]


def test_only_what_the_client_gets_commits_to_an_answer() -> None:
    reply = open_scripted()
    assert reply.feed(write("usage")) == b""
    assert (reply.content_seen, reply.usage) == (False, Usage(1, 2, 3))
    assert reply.feed(write("a"))
    assert reply.content_seen


class Answering:
    """A call whose whole answer is this."""

    path = "/x"

    def __init__(self, answer: Callable[[], Iterator[Event]]) -> None:
        self._answer = answer

    def write_request(self) -> bytes:
        return b"{}"

    def read_answer(self, body: bytes) -> Iterable[Event]:
        return self._answer()

    def open_reader(self) -> Scripted:
        return Scripted()


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        TypeError("x"),
        ValueError("x"),
        AttributeError("x"),
        ZeroDivisionError(),
        RecursionError(),
        msgspec.ValidationError("x"),
        UnicodeDecodeError("utf-8", b"", 0, 1, "x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_answer_of_another_shape_is_an_upstream_error(error: Exception) -> None:
    def answer() -> Iterator[Event]:
        yield TextDelta("a")
        raise error

    with pytest.raises(GatewayError, match="not what its wire format says") as caught:
        read_whole(Answering(answer), b"{}")
    assert caught.value.code == "upstream_error"


def test_an_answer_without_a_finish_reason_is_an_upstream_error() -> None:
    def answer() -> Iterator[Event]:
        yield TextDelta("a")

    with pytest.raises(GatewayError) as caught:
        TranslatedPair(Answering(answer), open_chat()).read_answer(b"{}")
    assert caught.value.code == "upstream_error"
