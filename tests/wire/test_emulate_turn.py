import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire.emulate_turn import compact_json, rewrite_turns
from wire.sample import any_json, may_fail, some_examples

HI = {"role": "user", "content": "Hi"}
TOLD = {"role": "system", "content": "INSTRUCTIONS"}


def call(name: str, arguments: object = "{}", **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": name, "type": "function", "function": function, **more}


def ask(*calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **more}


def answer(identity: str, content: object, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": content, **more}


def rewrite(*messages: Any, instructions: str = "") -> Any:
    raw = rewrite_turns(msgspec.Raw(msgspec.json.encode(messages)), instructions)
    return None if raw is None else msgspec.json.decode(raw)


def read_results(turn: dict[str, Any]) -> Any:
    assert turn["role"] == "user"
    return json.loads(turn["content"])["tool_results"]


@pytest.mark.parametrize(
    "messages",
    [
        [HI],
        [{"foo": "bar"}],
        [TOLD, HI, {"role": "assistant", "content": "Yes", "tool_calls": None}, HI],
        [{"role": "assistant", "content": "Yes", "tool_calls": [], "function_call": None}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        [{"role": "critic", "content": 5}],
    ],
)
def test_a_conversation_without_calls_stays_as_it_is(messages: list[Any]) -> None:
    assert rewrite(*messages) is None


def test_calls_and_results_become_plain_turns_in_the_form_of_an_answer() -> None:
    assert rewrite(
        HI,
        ask(call("time", '{ "zone": "UTC", "big": 12345678901234567890.10 }'), call("now", "")),
        answer("time", '{ "hour": 7 }'),
        answer("now", "07:00"),
        {"role": "assistant", "content": "It is 7."},
    ) == [
        HI,
        {
            "role": "assistant",
            "content": '{"tool_calls":[{"name":"time","arguments":{"zone":"UTC",'
            '"big":12345678901234567890.10}},{"name":"now","arguments":{}}]}',
        },
        {
            "role": "user",
            "content": '{"tool_results":[{"name":"time","content":{"hour":7}},'
            '{"name":"now","content":"07:00"}]}',
        },
        {"role": "assistant", "content": "It is 7."},
    ]


def test_functions_of_the_older_sort_are_rewritten_alike() -> None:
    asked = {"role": "assistant", "content": None, "function_call": call("time")["function"]}
    given = {"role": "function", "name": "time", "content": "7"}
    rewritten = rewrite(HI, asked, given)
    assert rewritten == rewrite(HI, ask(call("time")), answer("time", "7"))
    assert read_results(rewritten[-1]) == [{"name": "time", "content": "7"}]


def test_what_else_an_assistant_said_is_kept() -> None:
    parts = [{"type": "text", "text": "Let me "}, {"type": "refusal", "refusal": "see."}]
    _, asked = rewrite(HI, ask(call("time"), content=parts, name="A", reasoning_content="Hm"))
    assert json.loads(asked.pop("content")) == {
        "message": "Let me see.",
        "tool_calls": [{"name": "time", "arguments": {}}],
    }
    assert asked == {"role": "assistant", "name": "A", "reasoning_content": "Hm"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"a":1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        (None, {}),
        ("", {}),
        ("{}", {}),
        ('{"a":', '{"a":'),
        ("plain", "plain"),
        ("5", "5"),
    ],
)
def test_arguments_are_json_where_they_can_be(arguments: object, told: object) -> None:
    _, asked = rewrite(HI, ask(call("time", arguments)))
    assert json.loads(asked["content"])["tool_calls"][0]["arguments"] == told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("plain", "plain"),
        ("5", "5"),
        ('[1, {"a": 2}]', [1, {"a": 2}]),
        ("[1", "[1"),
        (None, ""),
        ([], ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
    ],
)
def test_results_are_json_where_they_are_objects_or_lists(content: object, told: object) -> None:
    *_, results = rewrite(HI, ask(call("time")), answer("time", content))
    assert read_results(results) == [{"name": "time", "content": told}]


def test_results_stand_in_the_order_of_their_calls() -> None:
    first, second = call("read", id="1"), call("read", id="2")
    *_, results = rewrite(
        HI,
        ask(first, second),
        answer("2", "b"),
        answer("unknown", "d", name="n"),
        answer("1", "a"),
        answer("?", "e"),
    )
    assert read_results(results) == [
        {"name": "read", "content": "a"},
        {"name": "read", "content": "b"},
        {"name": "n", "content": "d"},
        {"content": "e"},
    ]


def test_a_call_id_that_is_used_again_means_the_later_call() -> None:
    rewritten = rewrite(
        HI,
        ask(call("a", id="x")),
        answer("x", "1"),
        ask(call("b", id="x")),
        answer("x", "2"),
    )
    assert [read_results(rewritten[at])[0]["name"] for at in (2, 4)] == ["a", "b"]


@pytest.mark.parametrize(
    ("said", "content"),
    [
        ("And now?", "RESULTS\n\nAnd now?"),
        ("", "RESULTS"),
        (None, "RESULTS"),
        (
            [{"type": "image_url", "image_url": {"url": "x"}}],
            [
                {"type": "text", "text": "RESULTS"},
                {"type": "image_url", "image_url": {"url": "x"}},
            ],
        ),
    ],
)
def test_the_user_never_has_two_turns_in_a_row(said: object, content: object) -> None:
    results = '{"tool_results":[{"name":"t","content":"7"}]}'
    user = {"role": "user", "content": said, "name": "U"}
    *_, last = rewrite(HI, ask(call("t")), answer("t", "7"), user)
    wanted = json.loads(json.dumps(content).replace("RESULTS", json.dumps(results)[1:-1]))
    assert last == {"role": "user", "content": wanted, "name": "U"}


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("Be brief.", "Be brief.\n\nINSTRUCTIONS"),
        ("", "INSTRUCTIONS"),
        (None, "INSTRUCTIONS"),
        (
            [{"type": "text", "text": "Be brief."}],
            [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "INSTRUCTIONS"}],
        ),
    ],
)
def test_instructions_follow_those_of_the_client(
    role: str, content: object, wanted: object
) -> None:
    first = {"role": role, "content": content, "name": "N"}
    assert rewrite(first, HI, instructions="INSTRUCTIONS") == [{**first, "content": wanted}, HI]


def test_instructions_come_first_where_the_client_gave_none() -> None:
    assert rewrite(HI, TOLD, instructions="INSTRUCTIONS") == [TOLD, HI, TOLD]


@pytest.mark.parametrize(
    ("message", "at"),
    [
        (ask({"id": "x", "type": "custom", "custom": {"name": "n", "input": "i"}}), 1),
        (ask(call("t", 5)), 1),
        (ask(call("t"), content=[{"type": "image_url", "image_url": {"url": "x"}}]), 1),
        (answer("t", [{"type": "image_url", "image_url": {"url": "x"}}]), 1),
        (answer("t", {"a": 1}), 1),
        ({"role": "assistant", "tool_calls": "x"}, 1),
        ({"role": "system", "content": 5}, 0),
    ],
)
def test_what_has_no_plain_form_is_refused(message: dict[str, Any], at: int) -> None:
    messages = (message, HI) if message["role"] == "system" else (HI, message)
    with pytest.raises(GatewayError) as caught:
        rewrite(*messages, instructions="I")
    assert (caught.value.code, caught.value.param) == ("invalid_request", "messages")
    assert f"messages[{at}]" in caught.value.message


def test_half_a_pair_in_what_has_to_be_read_is_refused() -> None:
    raw = msgspec.Raw(rb'[{"role":"tool","content":"\ud83d"}]')
    with pytest.raises(GatewayError, match="messages") as caught:
        rewrite_turns(raw, "")
    assert caught.value.code == "invalid_request"


@some_examples
@given(any_json)
def test_compact_json_is_the_same_json(value: object) -> None:
    compact = compact_json(json.dumps(value, indent=3))
    assert (compact is None) != isinstance(value, (dict, list))
    if compact is not None:
        assert json.loads(bytes(compact)) == value
        assert b"\n" not in bytes(compact)


@some_examples
@given(
    st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "assistant", "tool", "function", "system"])},
            optional={
                "content": any_json,
                "tool_calls": st.lists(st.just(call("t")) | any_json, max_size=2),
                "function_call": st.just(call("t")["function"]) | any_json,
                "tool_call_id": st.text(),
            },
        ),
        max_size=4,
    ),
    st.sampled_from(["", "INSTRUCTIONS"]),
)
def test_any_messages_are_made_plain_or_refused(messages: list[Any], instructions: str) -> None:
    with may_fail("invalid_request"):
        rewritten = rewrite(*messages, instructions=instructions)
        for turn in messages if rewritten is None else rewritten:
            assert turn["role"] not in {"tool", "function"}
            if turn["role"] == "assistant":
                assert not turn.get("tool_calls")
                assert not turn.get("function_call")
        assert bool(instructions) <= (rewritten is not None)
