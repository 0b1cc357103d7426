import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.events import CompletionDetails, PromptDetails, Usage
from trunkline.wire.fan import FanStream, add_usages, join_answers
from trunkline.wire.reply import Answer
from wire.sample import (
    CHAT_STREAMS,
    make_chunk,
    make_stamp,
    open_chat,
    play,
    read_case,
    read_frames,
    some_examples,
    split,
    write_frames,
)
from wire.strict import read_chat, read_chat_stream

GOOD = msgspec.json.decode(read_case("openai/chat.json"))
SINGLE = [name for name in CHAT_STREAMS if "two" not in name]
counts = st.integers(0, 10**6)


def make_usage(prompt: int, completion: int, **details: Any) -> Usage:
    return Usage(prompt, completion, prompt + completion, **details)


def make_answer(text: str, usage: Usage | None, reason: Any = "stop") -> Answer:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    body = {**GOOD, "choices": [choice], "usage": usage}
    return Answer(msgspec.json.encode(body), usage, reason)


def test_answers_become_the_alternatives_of_one() -> None:
    answers = [
        make_answer("a", make_usage(3, 2)),
        make_answer("b", make_usage(3, 5), "length"),
        make_answer("c", make_usage(3, 1)),
    ]
    joined = join_answers(answers)
    assert (joined.usage, joined.finish_reason) == (make_usage(9, 8), "stop")
    for seen in read_chat(joined.body).values():
        assert [choice.index for choice in seen.choices] == [0, 1, 2]
        assert [choice.message.content for choice in seen.choices] == ["a", "b", "c"]
        assert [choice.finish_reason for choice in seen.choices] == ["stop", "length", "stop"]
        assert seen.usage.total_tokens == 17
        assert seen.id == GOOD["id"]


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    joined = join_answers([make_answer("a", make_usage(3, 2)), make_answer("b", None)])
    assert joined.usage is None
    assert msgspec.json.decode(joined.body)["usage"] is None
    assert add_usages([]) is None
    assert add_usages([None]) is None


def test_an_alternative_that_an_upstream_added_is_left_out() -> None:
    body = msgspec.json.decode(make_answer("a", None).body)
    body["choices"].append({**body["choices"][0], "index": 1})
    answer = Answer(msgspec.json.encode(body), None, "stop")
    choices = msgspec.json.decode(join_answers([answer, answer]).body)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]


def test_details_are_summed_where_they_are_told() -> None:
    one = make_usage(5, 4, prompt_tokens_details=PromptDetails(cached_tokens=3))
    two = make_usage(
        5,
        6,
        prompt_tokens_details=PromptDetails(cached_tokens=2, audio_tokens=1),
        completion_tokens_details=CompletionDetails(reasoning_tokens=4),
    )
    assert add_usages([one, two, make_usage(1, 1)]) == make_usage(
        11,
        11,
        prompt_tokens_details=PromptDetails(cached_tokens=5, audio_tokens=1),
        completion_tokens_details=CompletionDetails(reasoning_tokens=4),
    )


@some_examples
@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=5))
def test_a_sum_is_a_usage_itself(pairs: list[tuple[int, int]]) -> None:
    summed = add_usages([make_usage(*pair) for pair in pairs])
    assert summed == make_usage(sum(p for p, _ in pairs), sum(c for _, c in pairs))


def open_fan(copies: int, *, done: bool = False, include_usage: bool = False) -> FanStream:
    return FanStream(make_stamp(), copies, done=done, include_usage=include_usage)


def join(streams: Sequence[bytes], usages: Sequence[Usage | None], **options: bool) -> bytes:
    fan = open_fan(len(streams), **options)
    out = [fan.add(copy, stream) for copy, stream in enumerate(streams)]
    return b"".join([*out, fan.end(list(usages))])


def read_alternatives(out: bytes) -> dict[int, list[Any]]:
    """What each alternative's chunks say, in their order."""
    told: dict[int, list[Any]] = {}
    for frame in read_frames(out):
        for choice in frame["choices"] if frame != "[DONE]" else ():
            told.setdefault(choice["index"], []).append(
                {name: value for name, value in choice.items() if name != "index"}
            )
    return told


@pytest.mark.parametrize("name", SINGLE)
def test_recorded_streams_become_alternatives_that_every_client_reads(name: str) -> None:
    reply = open_chat(done=True, include_usage=True)
    stream = play(reply, read_case(name))
    out = join([stream] * 3, [reply.usage] * 3, include_usage=True)
    alternatives = read_alternatives(out)
    assert sorted(alternatives) == [0, 1, 2]
    assert alternatives[0] == alternatives[1] == alternatives[2] == read_alternatives(stream)[0]
    frames = len(list(read_frames(out)))
    for chunks in read_chat_stream(out).values():
        assert len(chunks) == frames
        assert {(chunk.id, chunk.model) for chunk in chunks} == {
            ("chatcmpl-stamped", "asked/model")
        }
        counted = [chunk.usage.total_tokens for chunk in chunks if chunk.usage]
        assert counted == ([3 * reply.usage.total_tokens] if reply.usage else [])


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_usage_and_end_come_once(*, done: bool, wanted: bool) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    last = make_chunk({}, "stop", usage=usage)
    stream = write_frames(make_chunk({"content": "a"}), last, b"[DONE]")
    counted = [make_usage(3, 2)] * 2
    *frames, end = read_frames(join([stream] * 2, counted, done=done, include_usage=wanted))
    frames += [] if end == "[DONE]" else [end]
    assert (end == "[DONE]") == done
    told = [frame["usage"]["total_tokens"] for frame in frames if "usage" in frame]
    assert told == ([10] if wanted else [])
    if wanted:
        assert frames[-1]["choices"] == []


def test_an_unknown_part_leaves_the_usage_out() -> None:
    stream = write_frames(make_chunk({"content": "a"}, "stop"))
    out = join([stream] * 2, [make_usage(3, 2), None], include_usage=True)
    assert [len(frame["choices"]) for frame in read_frames(out)] == [1, 1]


def test_half_a_character_goes_out_as_it_came() -> None:
    half = json.dumps(make_chunk({"content": "\ud83d"})).encode()
    rest = json.dumps(make_chunk({"content": "\udc4b"}, "stop")).encode()
    out = join([write_frames(half, rest)] * 2, [None] * 2)
    texts = [
        json.loads(line[6:])["choices"][0]["delta"]["content"] for line in out.split(b"\n\n")[:-1]
    ]
    assert texts == ["\ud83d", "\udc4b"] * 2
    whole = {**GOOD, "choices": [{**GOOD["choices"][0], "message": {"content": "\ud83d"}}]}
    joined = join_answers([Answer(json.dumps(whole).encode(), None, "stop")])
    assert json.loads(joined.body)["choices"][0]["message"]["content"] == "\ud83d"


def test_half_a_frame_at_the_end_is_a_fault_of_ours() -> None:
    fan = open_fan(2)
    fan.add(0, write_frames(make_chunk({"content": "a"}, "stop")))
    fan.add(1, write_frames(make_chunk({"content": "a"}, "stop"))[:-1])
    with pytest.raises(GatewayError) as caught:
        fan.end([None, None])
    assert caught.value.code == "internal_error"


copies = st.lists(
    st.tuples(
        st.lists(st.text(max_size=5), max_size=3),
        st.sampled_from(["stop", "length", "tool_calls"]),
        st.lists(st.integers(0, 400), max_size=4),
    ),
    min_size=1,
    max_size=4,
)


@some_examples
@given(copies, st.randoms(use_true_random=False))
def test_neither_order_nor_cuts_change_an_alternative(
    plans: list[tuple[list[str], str, list[int]]], order: Any
) -> None:
    chunks = [
        [*(make_chunk({"content": text}) for text in texts), make_chunk({}, reason)]
        for texts, reason, _ in plans
    ]
    fan = open_fan(len(plans))
    pieces = [
        split(write_frames(*said), *plan[2]) for said, plan in zip(chunks, plans, strict=True)
    ]
    out = b""
    while waiting := [copy for copy, left in enumerate(pieces) if left]:
        copy = order.choice(waiting)
        out += fan.add(copy, pieces[copy].pop(0))
    out += fan.end([None] * len(plans))
    alternatives = read_alternatives(out)
    for copy, said in enumerate(chunks):
        wanted = [
            {name: value for name, value in choice.items() if name != "index"}
            for chunk in said
            for choice in chunk["choices"]
        ]
        assert alternatives[copy] == wanted
