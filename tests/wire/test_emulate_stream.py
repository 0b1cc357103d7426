import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.events import Usage
from trunkline.wire.llama_cpp import EnginePair
from trunkline.wire.reply import Pair
from wire.emulated import (
    ADD,
    CALLS,
    COUNT,
    JSON,
    LEGACY,
    MESSAGE,
    NOW,
    ROLE,
    STOP,
    USAGE,
    cut_text,
    fold,
    make_stream,
    open_pair,
    read_whole,
    show_call,
)
from wire.sample import (
    any_json,
    fail,
    make_chunk,
    play,
    read_frames,
    some_examples,
    split,
    write_frames,
)


def test_a_stream_of_calls_chunk_by_chunk() -> None:
    pieces = ['{"tool_', 'calls":[{"na', 'me":"add","arguments":', '{"a"', ':1}},{"name":"now",']
    stream = make_stream([*pieces, '"arguments":{}}', "]}"], "stop", COUNT)
    deltas = [
        (frame["choices"][0]["delta"], frame["choices"][0]["finish_reason"])
        for frame in read_frames(play(open_pair().open_stream(), stream))
    ]
    assert deltas == [
        ({"role": "assistant", "content": ""}, None),
        ({"tool_calls": [{"index": 0, **show_call(0, "add", "")}]}, None),
        ({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}, None),
        (
            {
                "tool_calls": [
                    {"index": 0, "function": {"arguments": ":1}"}},
                    {"index": 1, **show_call(1, "now", "")},
                ]
            },
            None,
        ),
        ({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}, None),
        ({}, "tool_calls"),
    ]


def test_a_stream_of_a_message_comes_as_it_is_written() -> None:
    stream = make_stream(['{"message"', ':"', "Hé", "\\", 'n"', "}"], "stop")
    out = play(open_pair(done=True).open_stream(), stream)
    *frames, done = read_frames(out)
    assert done == "[DONE]"
    assert [frame["choices"][0]["delta"].get("content") for frame in frames] == [
        "", "Hé", "\n", None
    ]  # fmt: skip
    assert frames[-1]["choices"][0]["finish_reason"] == "stop"


answers = st.one_of(
    st.text().map(lambda text: {"message": text}),
    st.lists(
        st.fixed_dictionaries(
            {
                "name": st.sampled_from(["now", "add"]),
                "arguments": st.dictionaries(st.text(), any_json, max_size=2),
            }
        ),
        min_size=1,
        max_size=3,
    ).map(lambda calls: {"tool_calls": calls}),
)
places = st.lists(st.integers(0, 300), max_size=12)
styles = st.sampled_from([{}, {"indent": 1}, {"ensure_ascii": False}])


@some_examples
@given(answers, styles, places, places)
def test_no_way_of_cutting_the_bytes_matters(
    answer: object, style: dict[str, Any], at: list[int], cuts: list[int]
) -> None:
    pieces = cut_text(json.dumps(answer, **style), at)
    stream = make_stream(pieces, "stop", COUNT, b"[DONE]")
    whole = play(open_pair().open_stream(), stream)
    assert play(open_pair().open_stream(), *split(stream, *(cut * 7 for cut in cuts))) == whole
    assert (
        play(open_pair().open_stream(), *(stream[i : i + 1] for i in range(len(stream)))) == whole
    )


@some_examples
@given(answers, styles, places)
def test_the_folded_stream_is_the_whole_answer(
    answer: object, style: dict[str, Any], at: list[int]
) -> None:
    text = json.dumps(answer, **style)
    message, reason = fold(play(open_pair().open_stream(), make_stream(cut_text(text, at))))
    whole, told = read_whole(text)
    assert reason == told
    assert {**message, "content": message["content"] or ""} == {
        **whole,
        "content": whole["content"] or "",
    }


@some_examples
@given(any_json, styles, places)
def test_the_folded_stream_of_a_message_of_json(
    value: object, style: dict[str, Any], at: list[int]
) -> None:
    text = json.dumps({"message": value}, **style)
    message, reason = fold(play(open_pair(JSON).open_stream(), make_stream(cut_text(text, at))))
    assert (message, reason) == read_whole(text, JSON)
    assert json.loads(message["content"]) == value


def test_an_end_before_the_finish_reason_is_an_error() -> None:
    for content in (MESSAGE, CALLS):
        stream = make_stream(cut_text(content, range(0, 200, 5)))
        whole = play(open_pair().open_stream(), stream)
        for end in range(len(stream) - 2):
            out, error = fail(open_pair().open_stream(), stream[:end])
            assert error.code == "upstream_error"
            assert whole.startswith(out)


def test_a_failure_comes_after_what_stood_before_it() -> None:
    good = [make_chunk({"content": '{"message":"Hi'}), make_chunk({"content": " there"})]
    for bad in (
        write_frames(make_chunk({"content": '"]'}), STOP),
        write_frames(make_chunk({"content": 5})),
        write_frames({"error": {"message": "sk-secret"}}),
        b"event: error\ndata: sk-secret\n\n",
        b"data: [\n\n",
    ):
        for pieces in ((write_frames(*good) + bad,), (write_frames(*good), bad)):
            out, error = fail(open_pair().open_stream(), *pieces)
            texts = [frame["choices"][0]["delta"]["content"] for frame in read_frames(out)]
            assert texts == ["Hi", " there"]
            assert error.code == "upstream_error"
            assert "sk-secret" not in error.message


def with_index(index: int, chunk: Any) -> Any:
    return {**chunk, "choices": [{**chunk["choices"][0], "index": index}]}


def test_every_choice_has_its_own_answer() -> None:
    first = [make_chunk({"content": piece}) for piece in cut_text(CALLS, range(0, 200, 7))]
    second = [make_chunk({"content": piece}) for piece in cut_text(MESSAGE, range(0, 90, 3))]
    frames = []
    for left, right in itertools.zip_longest(first, second):
        frames += [with_index(0, left)] if left else []
        frames += [with_index(1, right)] if right else []
    both = [with_index(0, STOP)["choices"][0], with_index(1, STOP)["choices"][0]]
    reply = open_pair().open_stream()
    out = play(reply, write_frames(*frames, {**STOP, "choices": both, "usage": USAGE}))
    assert fold(out, 0)[1] == "tool_calls"
    assert [call["function"]["arguments"] for call in fold(out, 0)[0]["tool_calls"]] == [ADD, NOW]
    assert fold(out, 1) == read_whole(MESSAGE)
    assert reply.usage == Usage(3, 2, 5)


def test_a_choice_of_which_nothing_was_shown_must_finish_too() -> None:
    hidden = with_index(1, make_chunk({"content": '{"message"'}))
    stream = write_frames(hidden, make_chunk({"content": MESSAGE}), STOP)
    _, error = fail(open_pair().open_stream(), stream)
    assert error.code == "upstream_error"


@pytest.mark.parametrize("wanted", [True, False])
def test_usage_goes_to_who_asked_for_it(*, wanted: bool) -> None:
    reply = open_pair(usage=wanted).open_stream()
    out = play(reply, make_stream([MESSAGE], "stop", COUNT, b"[DONE]"))
    assert [frame for frame in read_frames(out) if not frame["choices"]] == [COUNT] * wanted
    assert reply.usage == Usage(3, 2, 5)


def test_usage_beside_what_the_client_does_not_see_is_noted() -> None:
    reply = open_pair().open_stream()
    assert reply.feed(write_frames(make_chunk({"content": "{"}, None, usage=USAGE))) == b""
    assert reply.usage == Usage(3, 2, 5)


def test_reasoning_and_log_probabilities_pass() -> None:
    thought = make_chunk({"reasoning_content": "Hm"})
    token = {"token": "{", "logprob": -0.1, "bytes": None, "top_logprobs": []}
    first = make_chunk({"content": "{"})
    first["choices"][0]["logprobs"] = {"content": [token]}
    both = make_chunk({"content": MESSAGE[1:], "reasoning_content": "!"}, "stop")
    again = make_chunk({"role": "assistant", "content": "x"}, None, usage=USAGE)
    stream = write_frames(thought, first, both, again)
    out = list(read_frames(play(open_pair(usage=True).open_stream(), stream)))
    assert out[0] == thought
    assert out[1]["choices"][0] == {**first["choices"][0], "delta": {}}
    assert out[2]["choices"][0]["delta"] == {
        "content": 'Hé "👋"👋\n',
        "reasoning_content": "!",
    }
    assert (out[3]["choices"], out[3]["usage"]) == ([], USAGE)


def test_only_what_the_client_sees_commits_to_the_answer() -> None:
    reply = open_pair().open_stream()
    assert reply.feed(write_frames(ROLE))
    for piece in ("{", '"tool_calls":[{"name":', '"now'):
        assert reply.feed(write_frames(make_chunk({"content": piece}))) == b""
        assert not reply.content_seen
    assert reply.feed(write_frames(make_chunk({"content": '",'})))
    assert reply.content_seen


def test_chunks_that_do_not_fit_are_mended() -> None:
    bare = {"choices": [{"delta": {"content": MESSAGE}, "finish_reason": "eos_token"}]}
    [frame] = read_frames(play(open_pair().open_stream(), write_frames(bare)))
    assert (frame["object"], frame["id"]) == ("chat.completion.chunk", "chatcmpl-stamped")
    assert frame["choices"][0]["finish_reason"] == "stop"
    odds: list[object] = ["x", [5], [{"delta": 5}], {}]
    for odd in odds:
        _, error = fail(open_pair().open_stream(), write_frames({"choices": odd}))
        assert error.code == "upstream_error"


def test_a_pair_of_characters_may_be_cut_by_the_upstream() -> None:
    stream = write_frames(
        make_chunk({"content": '{"message":"a'}),
        json.dumps(make_chunk({"content": "\ud83d"})).encode(),
        json.dumps(make_chunk({"content": '\udc4b"}'})).encode(),
        STOP,
    )
    assert fold(play(open_pair().open_stream(), stream)) == (
        {"role": "assistant", "content": "a👋"},
        "stop",
    )


def test_half_a_pair_in_a_thought_passes_as_it_came() -> None:
    thought = json.dumps(make_chunk({"reasoning_content": "\ud83d"})).encode()
    assert rb'"\ud83d"' in open_pair().open_stream().feed(write_frames(thought))


def test_legacy_streams_carry_a_function_call() -> None:
    text = '{"tool_calls":[{"name":"add","arguments":{"a":1}}]}'
    out = play(open_pair(LEGACY).open_stream(), make_stream(list(text)))
    first = [frame["choices"][0]["delta"] for frame in read_frames(out)][1]
    assert first == {"function_call": {"name": "add", "arguments": ""}}
    assert fold(out) == read_whole(text, LEGACY)


def test_an_engine_folds_its_stream_before_the_calls_are_read() -> None:
    progress = make_chunk({"role": "assistant"}, None, prompt_progress={"total": 9})
    last = make_chunk({}, "stop", usage=USAGE)
    contents = [make_chunk({"content": piece}) for piece in cut_text(CALLS, range(0, 200, 9))]
    stream = write_frames(progress, ROLE, *contents, last, b"[DONE]")
    pair: Pair = EnginePair(open_pair(usage=True))
    opened = pair.open_fold()
    assert opened is not None
    answer = pair.read_answer(play(opened, stream))
    [choice] = msgspec.json.decode(answer.body)["choices"]
    assert (choice["message"], choice["finish_reason"]) == read_whole(CALLS)
    assert answer.usage == Usage(3, 2, 5)
    for pieces in ((stream,), tuple(stream[i : i + 1] for i in range(len(stream)))):
        reply = EnginePair(open_pair(usage=True)).open_stream()
        out = play(reply, *pieces)
        assert fold(out) == read_whole(CALLS)
        assert [frame["usage"] for frame in read_frames(out) if frame.get("usage")] == [USAGE]
        assert reply.usage == Usage(3, 2, 5)
