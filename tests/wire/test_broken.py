"""A reply that is not complete and sound is a failure, in every format and for every client.

What stood before the fault may have been given out; nothing after it is, and never an end that
looks complete.
"""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire.reply import StreamReply
from wire.mould import MOULDS, WAYS, Mould, open_pair, write_sse
from wire.sample import play, some_examples, split

Make = Callable[[Mould], bytes | None]
RUBBISH = b"\0\0\0\x20rubbish rubbish rubbish rubbish"
every_way = pytest.mark.parametrize(("name", "client"), WAYS)
CHATS = [(name, client) for name, client in WAYS if client in ("beta chat", "chat")]
CALLING = [(name, client) for name, client in CHATS if MOULDS[name].call]


def begin(mould: Mould) -> bytes:
    return mould.begin + mould.text("Hello")


def close(mould: Mould, word: str = "stop") -> bytes:
    """The end of a reply, without the mark that nothing follows."""
    return mould.end(mould.words[word]).replace(b"data: [DONE]\n\n", b"")


def finish(mould: Mould) -> bytes:
    return begin(mould) + close(mould)


def say(mould: Mould, frame: bytes) -> bytes | None:
    """A text frame amid a reply; Bedrock's are binary."""
    return None if mould.wire == "bedrock" else begin(mould) + frame + close(mould)


def write_nested(mould: Mould) -> bytes | None:
    return say(mould, b"data: " + b"[" * 5000 + b"\n\n")


STREAMS: dict[str, Make] = {
    "nothing": lambda _: b"",
    "page": lambda _: b"<html><body>502 Bad Gateway</body></html>\n\n",
    "sentence": lambda _: b"upstream connect error or disconnect/reset before headers",
    "whole answer": lambda mould: mould.whole("Hello", mould.words["stop"], None),
    "bare error": lambda _: b'{"error": {"message": "canary", "type": "server_error"}}',
    "begun": lambda mould: mould.begin,
    "no finish": begin,
    "early done": lambda mould: say(mould, b"data: [DONE]\n\n") and begin(mould) + b"data: [DONE]",
    "half a frame": lambda mould: begin(mould) + close(mould)[: len(close(mould)) // 3],
    "rubbish": lambda mould: (
        begin(mould) + (RUBBISH if mould.wire == "bedrock" else b"data: {x\n\n")
    ),
    "page inside": lambda mould: say(mould, b"data: <html></html>\n\n"),
    "no UTF-8": lambda mould: begin(mould) + mould.text("#").replace(b"#", b"\xff") + close(mould),
    "NUL": lambda mould: begin(mould) + mould.text("#").replace(b"#", b"\0") + close(mould),
    "nested": write_nested,
    "error event": lambda mould: say(mould, b'event: error\ndata: {"message": "canary"}\n\n'),
    "error word": lambda mould: say(mould, b"event: error\ndata: canary\n\n"),
    "error object": lambda mould: say(mould, write_sse({"error": {"message": "canary"}})),
    "error text": lambda mould: say(mould, write_sse({"error": "canary"})),
    "late error": lambda mould: (
        None if mould.wire == "bedrock" else finish(mould) + write_sse({"error": {"code": 500}})
    ),
    "broken word": lambda mould: (
        None if mould.wire == "llm-engine" else begin(mould) + mould.end("upstream_error")
    ),
    "words after the end": lambda mould: (
        None if mould.wire == "gemini" else finish(mould) + mould.text("more")
    ),
}


def read(reply: StreamReply, *pieces: bytes) -> tuple[bytes, GatewayError | None]:
    """What a client gets, and the failure, if there is one."""
    out = b""
    try:
        for piece in pieces:
            out += reply.feed(piece)
        return out + reply.finish(), None
    except GatewayError as failure:
        return out, failure


@every_way
@pytest.mark.parametrize("fault", STREAMS)
def test_a_broken_stream_is_a_failure(name: str, client: str, fault: str) -> None:
    stream = STREAMS[fault](MOULDS[name])
    if stream is None:
        return  # the format has no such fault
    reply = open_pair(name, client, stream=True).open_stream()
    out, failure = read(reply, stream)
    assert failure is not None
    assert failure.kind.retryable
    assert b"canary" not in out
    assert b"[DONE]" not in out
    assert reply.content_seen == (b"Hello" in out)
    one_by_one = open_pair(name, client, stream=True).open_stream()
    assert read(one_by_one, *(stream[i : i + 1] for i in range(len(stream))))[0] == out


@every_way
@pytest.mark.parametrize("engine", [False, True])
def test_a_sound_stream_passes(name: str, client: str, *, engine: bool) -> None:
    mould = MOULDS[name]
    if engine and mould.wire != "openai":
        return
    for word, reason in {"stop": "stop", "length": "length", "filter": "content_filter"}.items():
        if word in mould.words:
            reply = open_pair(name, client, stream=True, engine=engine).open_stream()
            out = play(reply, begin(mould) + mould.end(mould.words[word]))
            assert f'"{reason}"'.encode() in out
            assert reply.finish_reason == reason
            assert reason == "stop" or b'"stop"' not in out


@every_way
@some_examples
@given(data=st.data())
def test_no_way_of_cutting_matters(name: str, client: str, data: st.DataObject) -> None:
    mould = MOULDS[name]
    calls = mould.call('{"a": "é"}') if mould.call else b""
    fault = STREAMS[data.draw(st.sampled_from(sorted(STREAMS)))](mould)
    sound = mould.begin + mould.text("Grüße 🌍") + calls + mould.end(mould.words["stop"])
    stream = sound if data.draw(st.booleans()) or fault is None else fault
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    whole, failure = read(open_pair(name, client, stream=True).open_stream(), stream)
    out, other = read(open_pair(name, client, stream=True).open_stream(), *split(stream, *places))
    assert (out, failure is None) == (whole, other is None)


def replace_word(mould: Mould, word: bytes) -> bytes | None:
    """A whole answer with another finish reason; None where the format has none."""
    body = mould.whole("Hello", "@", None)
    return body.replace(b'"@"', word) if b'"@"' in body else None


def empty(mould: Mould) -> bytes | None:
    """A whole answer that says nothing at all."""
    if mould.wire == "openai":
        return (
            b'{"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}'
        )
    return {"gemini": b'{"candidates": []}', "llm-engine": b'{"output": null}'}.get(mould.wire)


WHOLE: dict[str, Make] = {
    "nothing": lambda _: b"",
    "page": lambda _: b"<html></html>",
    "null": lambda _: b"null",
    "list": lambda _: b"[]",
    "object": lambda _: b"{}",
    "error": lambda _: b'{"error": {"message": "canary"}}',
    "error text": lambda _: b'{"error": "canary"}',
    "cut": lambda mould: mould.whole("Hello", mould.words["stop"], None)[:-4],
    "more": lambda mould: mould.whole("Hello", mould.words["stop"], None) + b"x",
    "stream": finish,
    "no UTF-8": lambda mould: mould.whole("#", mould.words["stop"], None).replace(b"#", b"\xff"),
    "NUL": lambda mould: mould.whole("#", mould.words["stop"], None).replace(b"#", b"\0"),
    "error beside": lambda mould: (
        mould.whole("Hello", mould.words["stop"], None)[:-1] + b', "error": {"message": "canary"}}'
    ),
    "no reason": lambda mould: replace_word(mould, b"null"),
    "empty reason": lambda mould: replace_word(mould, b'""'),
    "number": lambda mould: replace_word(mould, b"7"),
    "broken word": lambda mould: replace_word(mould, b'"generation_failed"'),
    "no choices": empty,
}


@every_way
@pytest.mark.parametrize("fault", WHOLE)
def test_a_broken_answer_is_a_failure(name: str, client: str, fault: str) -> None:
    body = WHOLE[fault](MOULDS[name])
    if body is None:
        return  # the format has no such fault
    with pytest.raises(GatewayError) as caught:
        open_pair(name, client, stream=False).read_answer(body)
    assert caught.value.kind.retryable
    assert "canary" not in caught.value.message


@every_way
@pytest.mark.parametrize("word", ["stop", "length", "filter"])
def test_a_reason_stays_what_it_is(name: str, client: str, word: str) -> None:
    mould = MOULDS[name]
    if word not in mould.words:
        return
    answer = open_pair(name, client, stream=False).read_answer(
        mould.whole("Hello", mould.words[word], None)
    )
    assert answer.finish_reason == {"filter": "content_filter"}.get(word, word)
    assert (b'"stop"' in answer.body) == (word == "stop")


BROKEN = ['{"a":', "{'a': 1}", '{"a": 1}}', "a", '{"a": "\n"}', "[" * 5000]


@pytest.mark.parametrize(("name", "client"), CALLING)
@pytest.mark.parametrize("arguments", BROKEN)
@pytest.mark.parametrize("word", ["tools", "stop"])
def test_arguments_that_are_no_json_are_a_failure(
    name: str, client: str, arguments: str, word: str
) -> None:
    mould = MOULDS[name]
    assert mould.call is not None
    stream = begin(mould) + mould.call(arguments) + close(mould, word)
    _, failure = read(open_pair(name, client, stream=True).open_stream(), stream)
    assert failure is not None
    with pytest.raises(GatewayError):
        open_pair(name, client, stream=False).read_answer(
            mould.whole("", mould.words[word], arguments)
        )


@pytest.mark.parametrize(("name", "client"), CALLING)
def test_arguments_may_be_cut_where_the_reply_says_so(name: str, client: str) -> None:
    mould = MOULDS[name]
    assert mould.call is not None
    if mould.wire == "gemini":
        return  # there a call comes whole or not at all
    reply = open_pair(name, client, stream=True).open_stream()
    out = play(reply, begin(mould) + mould.call('{"a":') + close(mould, "length"))
    assert reply.finish_reason == "length"
    assert b'"length"' in out


@pytest.mark.parametrize("client", ["beta chat", "chat"])
def test_a_call_without_arguments_gets_an_empty_object(client: str) -> None:
    mould = MOULDS["openai chat"]
    assert mould.call is not None
    stream = mould.begin + mould.call("") + close(mould, "tools")
    out = play(open_pair("openai chat", client, stream=True).open_stream(), stream)
    assert out.count(b'{"index":0,"function":{"arguments":"{}"}}') == 1
    whole = mould.whole("", "tool_calls", "")
    answer = open_pair("openai chat", client, stream=False).read_answer(whole)
    assert b'"arguments":"{}"' in answer.body


@pytest.mark.parametrize("client", ["completion", "beta chat", "chat"])
def test_two_ends_must_agree(client: str) -> None:
    mould = MOULDS["openai chat"]
    for words, is_sound in ((("stop", "stop"), True), (("stop", "length"), False)):
        stream = begin(mould) + b"".join(close(mould, word) for word in words)
        _, failure = read(open_pair("openai chat", client, stream=True).open_stream(), stream)
        assert (failure is None) == is_sound


@pytest.mark.parametrize("client", ["completion", "beta chat", "chat"])
def test_some_say_in_every_chunk_that_it_is_the_last(client: str) -> None:
    head = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    texts = [
        b'[{"index":0,"delta":{"content":"%b"},"finish_reason":"stop"}]}\n\n' % t
        for t in (b"A", b"B")
    ]
    out = play(
        open_pair("openai chat", client, stream=True).open_stream(), *(head + t for t in texts)
    )
    assert b'"A"' in out
    assert b'"B"' in out
