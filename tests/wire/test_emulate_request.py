import json
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire.body import read_fields
from trunkline.wire.emulate_form import Form
from trunkline.wire.emulate_request import CHANGE, Emulation, emulate_tools
from wire.sample import any_json, may_fail, some_examples

HI = {"role": "user", "content": "Hi"}
UNIT = {"enum": ["c", "f"]}
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"$ref": "#/$defs/Unit"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"Unit": UNIT},
}
CALL = {"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}}
NOW = {"name": "now", "arguments": {}}


def tool(name: str, parameters: object = ..., **more: object) -> dict[str, Any]:
    given = {} if parameters is ... else {"parameters": parameters}
    return {"type": "function", "function": {"name": name, **given, **more}}


TOOLS = [tool("weather", WEATHER, description="Weather of a city."), tool("now")]
FUNCTIONS = [entry["function"] for entry in TOOLS]
NAMED = {"type": "function", "function": {"name": "weather"}}


def emulate(**fields: object) -> Emulation:
    body = {"model": "m", "messages": [HI], "temperature": 0.5, **fields}
    emulation = emulate_tools(read_fields(msgspec.json.encode(body)))
    assert emulation is not None
    return emulation


def read(emulation: Emulation) -> dict[str, Any]:
    return {name: msgspec.json.decode(raw) for name, raw in emulation.fields.items()}


def find_schema(emulation: Emulation) -> Any:
    wanted = read(emulation)["response_format"]
    assert wanted["type"] == "json_schema"
    return wanted["json_schema"]["schema"]


def accepts(emulation: Emulation, **answer: object) -> bool:
    return jsonschema_rs.is_valid(find_schema(emulation), answer)


@pytest.mark.parametrize("more", [{}, {"tool_choice": "auto"}, {"parallel_tool_calls": True}])
def test_auto_is_calls_or_a_message(more: dict[str, object]) -> None:
    emulation = emulate(tools=TOOLS, **more)
    assert emulation.form == Form(frozenset({"weather", "now"}), "text", single=False)
    assert accepts(emulation, tool_calls=[CALL])
    assert accepts(emulation, tool_calls=[CALL, NOW, CALL])
    assert accepts(emulation, message="Hello.")
    wrong: list[dict[str, object]] = [
        {},
        {"message": 5},
        {"message": "Hello.", "tool_calls": [CALL]},
        {"tool_calls": []},
        {"tool_calls": [{**CALL, "arguments": {}}]},
        {"tool_calls": [{**CALL, "arguments": {"city": "Oslo", "unit": "k"}}]},
        {"tool_calls": [{**CALL, "name": "now"}]},
        {"tool_calls": [{**CALL, "name": "other"}]},
        {"tool_calls": [{**NOW, "arguments": {"x": 1}}]},
        {"tool_calls": [{**CALL, "id": "x"}]},
        {"tool_calls": [{"name": "now"}]},
    ]
    for answer in wrong:
        assert not accepts(emulation, **answer)


def test_required_is_calls_only() -> None:
    emulation = emulate(tools=TOOLS, tool_choice="required")
    assert emulation.form == Form(frozenset({"weather", "now"}), None, single=False)
    assert accepts(emulation, tool_calls=[CALL, NOW])
    assert not accepts(emulation, tool_calls=[])
    assert not accepts(emulation, message="Hello.")


def test_a_named_tool_is_called_once() -> None:
    emulation = emulate(tools=TOOLS, tool_choice=NAMED)
    assert emulation.form == Form(frozenset({"weather"}), None, single=True)
    assert accepts(emulation, tool_calls=[CALL])
    assert not accepts(emulation, tool_calls=[CALL, CALL])
    assert not accepts(emulation, tool_calls=[NOW])
    assert not accepts(emulation, message="Hello.")
    assert '"now"' not in read(emulation)["messages"][0]["content"]


@pytest.mark.parametrize(("mode", "message"), [("auto", "text"), ("required", None)])
def test_only_allowed_tools_can_be_called(mode: str, message: str | None) -> None:
    allowed = {"mode": mode, "tools": [NAMED]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    emulation = emulate(tools=TOOLS, tool_choice=choice)
    assert emulation.form is not None
    assert emulation.form.tools == {"weather"}
    assert emulation.form.message == message
    assert accepts(emulation, message="Hello.") == (message is not None)
    assert accepts(emulation, tool_calls=[CALL])
    assert not accepts(emulation, tool_calls=[NOW])


def test_calls_one_by_one() -> None:
    emulation = emulate(tools=TOOLS, parallel_tool_calls=False)
    assert emulation.form is not None
    assert emulation.form.single
    assert accepts(emulation, tool_calls=[CALL])
    assert not accepts(emulation, tool_calls=[CALL, NOW])


@pytest.mark.parametrize(
    ("choice", "names", "message"),
    [
        (None, {"weather", "now"}, "text"),
        ("auto", {"weather", "now"}, "text"),
        ({"name": "weather"}, {"weather"}, None),
    ],
)
def test_functions_of_the_older_sort(choice: object, names: set[str], message: str | None) -> None:
    emulation = emulate(functions=FUNCTIONS, function_call=choice)
    assert emulation.legacy
    assert emulation.form is not None
    assert emulation.form.tools == names
    assert emulation.form.message == message
    assert accepts(emulation, tool_calls=[CALL])
    assert not accepts(emulation, tool_calls=[CALL, CALL])
    assert not {"functions", "function_call"} & emulation.fields.keys()


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": TOOLS, "tool_choice": "none", "parallel_tool_calls": False},
        {"functions": FUNCTIONS, "function_call": "none"},
        {"tools": []},
        {"tools": [], "tool_choice": "auto"},
        {"tool_choice": "none"},
        {"parallel_tool_calls": True},
        {
            "tools": TOOLS,
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": []},
            },
        },
    ],
)
def test_without_a_tool_to_call_nothing_is_constrained(fields: dict[str, object]) -> None:
    asked = {"response_format": {"type": "json_object"}, "stop": ["x"]}
    emulation = emulate(**fields, **asked)
    assert emulation.form is None
    assert emulation.stop == ()
    assert read(emulation) == {"model": "m", "messages": [HI], "temperature": 0.5, **asked}


def test_past_calls_are_rewritten_though_no_tool_is_offered() -> None:
    past = [HI, {"role": "assistant", "content": None, "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    ]}, {"role": "tool", "tool_call_id": "a", "content": "7"}]  # fmt: skip
    emulation = emulate(messages=past)
    assert emulation.form is None
    assert [turn["role"] for turn in read(emulation)["messages"]] == ["user", "assistant", "user"]


def test_a_request_without_tools_is_left_alone() -> None:
    body = {"model": "m", "messages": [HI], "stop": "x", "response_format": {"type": "text"}}
    assert emulate_tools(read_fields(msgspec.json.encode(body))) is None


def test_the_model_is_told_of_the_tools_in_the_system_turn() -> None:
    told = [{"role": "system", "content": "Be brief."}, HI]
    first, last = read(emulate(tools=TOOLS, messages=told))["messages"]
    lines = first["content"].split("\n")
    assert lines[0] == "Be brief."
    assert json.loads(lines[-2]) == {
        "name": "weather",
        "description": "Weather of a city.",
        "parameters": WEATHER,
    }
    assert json.loads(lines[-1]) == {"name": "now"}
    assert '"tool_calls"' in first["content"]
    assert '"message"' in first["content"]
    assert last == HI
    required = read(emulate(tools=TOOLS, tool_choice="required"))["messages"][0]
    assert required["role"] == "system"
    assert '"message"' not in required["content"]


def test_everything_else_goes_on_as_it_is() -> None:
    fields = read(emulate(tools=TOOLS, n=2, stream=True, made_up={"x": [1]}))
    assert fields.keys() == {
        "model", "messages", "temperature", "n", "stream", "made_up", "response_format"
    }  # fmt: skip
    assert (fields["n"], fields["stream"], fields["made_up"]) == (2, True, {"x": [1]})


@pytest.mark.parametrize(
    ("wanted", "good", "bad"),
    [
        ({"type": "text"}, "x", {}),
        ({"type": "json_object"}, {"a": 1}, "x"),
        ({"type": "json_schema", "json_schema": {"name": "n"}}, {"a": 1}, [1]),
        (
            {
                "type": "json_schema",
                "json_schema": {"name": "n", "strict": True, "schema": WEATHER},
            },
            {"city": "Oslo", "unit": "f"},
            {"city": "Oslo", "unit": "k"},
        ),
    ],
)
def test_the_message_takes_the_format_that_the_client_asked_for(
    wanted: object, good: object, bad: object
) -> None:
    emulation = emulate(tools=TOOLS, response_format=wanted)
    assert emulation.form is not None
    assert emulation.form.message == ("text" if good == "x" else "json")
    assert accepts(emulation, message=good)
    assert not accepts(emulation, message=bad)
    assert accepts(emulation, tool_calls=[CALL])


@pytest.mark.parametrize(
    ("stop", "kept"), [("x", ("x",)), (["x", "", "y"], ("x", "y")), ("", ()), ([], ()), (None, ())]
)
def test_stop_texts_are_applied_here_for_the_target_would_find_them_in_json(
    stop: object, kept: tuple[str, ...]
) -> None:
    emulation = emulate(tools=TOOLS, stop=stop)
    assert emulation.stop == kept
    assert "stop" not in emulation.fields


@pytest.mark.parametrize(
    ("parameters", "good", "bad"),
    [
        (..., {}, {"a": 1}),
        (None, {}, {"a": 1}),
        ({}, {}, {"a": 1}),
        ({"properties": {"a": {"type": "integer"}}}, {"a": 1}, {"a": "x"}),
        ({"type": ["object", "null"], "properties": {"a": {"const": 1}}}, {"a": 1}, None),
        ({"type": "object"}, {"a": 1}, 5),
        ({"anyOf": [{"type": "object", "required": ["a"]}]}, {"a": 1}, {}),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "maxProperties": 0}}},
            {},
            {"a": 1},
        ),
    ],
)
def test_arguments_are_always_an_object(parameters: object, good: object, bad: object) -> None:
    emulation = emulate(tools=[tool("t", parameters)], tool_choice="required")
    assert accepts(emulation, tool_calls=[{"name": "t", "arguments": good}])
    assert not accepts(emulation, tool_calls=[{"name": "t", "arguments": bad}])


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"tools": [tool("far", {"$ref": "https://e.test/a"})]}, "tools", "tool 'far'"),
        ({"tools": [tool("far", {"$ref": "#/$defs/a"})]}, "tools", "'#/$defs/a'"),
        ({"tools": [tool("text", {"type": "string"})]}, "tools", "tool 'text'"),
        ({"tools": [tool("text", {"type": ["null"]})]}, "tools", "tool 'text'"),
        ({"tools": [tool("x", "schema")]}, "tools", "[0].function.parameters"),
        ({"tools": [tool("x", True)]}, "tools", "[0].function.parameters"),
        ({"tools": [tool("a"), tool("")]}, "tools", "has none"),
        ({"tools": [tool("a"), tool("a")]}, "tools", "same name"),
        ({"tools": [{"foo": "bar"}]}, "tools", "[0]"),
        ({"tools": [tool("a"), {"type": "custom", "custom": {"name": "c"}}]}, "tools", "[1]"),
        ({"tools": "x"}, "tools", ""),
        ({"functions": [{"name": "f", "parameters": {"$ref": "x"}}]}, "functions", "tool 'f'"),
        ({"functions": [{}]}, "functions", "[0]"),
        ({"functions": FUNCTIONS, "tools": TOOLS}, "functions", "not both"),
        ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice", ""),
        ({"tools": TOOLS, "tool_choice": 5}, "tool_choice", ""),
        ({"tools": TOOLS, "tool_choice": {"foo": "bar"}}, "tool_choice", "names no function"),
        ({"tools": TOOLS, "tool_choice": {"function": {"name": "z"}}}, "tool_choice", "'z'"),
        ({"tool_choice": "required"}, "tool_choice", "no tools"),
        ({"tool_choice": NAMED}, "tool_choice", "'weather'"),
        ({"functions": FUNCTIONS, "function_call": {"name": "z"}}, "function_call", "'z'"),
        ({"tools": TOOLS, "response_format": {"type": "regex"}}, "response_format", ""),
        (
            {
                "tools": TOOLS,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {"$ref": "x"}},
                },
            },
            "response_format",
            "'x'",
        ),
        ({"tools": TOOLS, "stop": 5}, "stop", ""),
        ({"tools": TOOLS, "messages": [{"role": "tool", "content": 5}]}, "messages", "messages[0]"),
    ],
)
def test_what_cannot_be_emulated_is_refused_by_name(
    fields: dict[str, object], param: str, said: str
) -> None:
    with pytest.raises(GatewayError) as caught:
        emulate(**fields)
    assert (caught.value.code, caught.value.param) == ("invalid_request", param)
    assert said in caught.value.message
    assert f"'{param}'" in caught.value.message or param == "messages"


def test_a_refusal_quotes_little_of_what_the_client_wrote() -> None:
    with pytest.raises(GatewayError) as caught:
        emulate(tools=[tool("t" * 10_000, {"$ref": "x" * 10_000})])
    assert len(caught.value.message) < 1000


def test_the_change_has_a_word() -> None:
    assert CHANGE == "emulated:tools"


@some_examples
@given(
    st.dictionaries(
        st.sampled_from(
            ["tools", "tool_choice", "functions", "function_call", "response_format", "stop"]
        ),
        any_json | st.just(TOOLS) | st.just(FUNCTIONS) | st.sampled_from(["auto", "required"]),
    ),
    any_json,
)
def test_any_fields_are_emulated_or_refused(fields: dict[str, object], schema: object) -> None:
    for more in ({}, {"tools": [tool("t", schema)]}):
        with may_fail("invalid_request"):
            raws = read_fields(msgspec.json.encode({"messages": [HI], **fields, **more}))
            emulation = emulate_tools(raws)
            if emulation is not None:
                assert not {"tools", "functions", "tool_choice"} & emulation.fields.keys()
                assert (emulation.form is None) or find_schema(emulation)
