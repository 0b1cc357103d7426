import re
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire.body import read_fields
from trunkline.wire.change import Changes
from trunkline.wire.parameter import MEANINGLESS, NAMES
from trunkline.wire.rewrite import Dialect, Rewrite
from wire.asked import HI, WEATHER, make_calls, write_call
from wire.sample import any_json, some_examples

REWRITES: tuple[Rewrite, ...] = get_args(Rewrite)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
SAID = {"role": "assistant", "content": "a", "reasoning_content": "Hm", "annotations": []}


def apply(
    body: dict[str, Any], *rewrites: Rewrite, drops: tuple[str, ...] = (), strict: bool = False
) -> tuple[dict[str, Any], list[str]]:
    dialect = Dialect(drops, rewrites)
    encoded = msgspec.json.encode(body)
    fields, changes = read_fields(encoded), Changes(strict=strict)
    dialect.apply(fields, changes)
    written = msgspec.json.decode(msgspec.json.encode(fields))
    if written != body:
        assert dialect.touches(encoded)
    return written, changes.words


def ask(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages) or [HI], **fields}


CASES: list[tuple[Rewrite, dict[str, Any], dict[str, Any], list[str]]] = [
    (
        "context_error",
        ask(),
        ask(context_length_exceeded_behavior="error"),
        [],
    ),
    (
        "context_error",
        ask(context_length_exceeded_behavior="truncate"),
        ask(context_length_exceeded_behavior="truncate"),
        [],
    ),
    (
        "developer_as_system",
        ask({"role": "developer", "content": "x", "name": "n"}, HI, {"role": "developer"}),
        ask({"role": "system", "content": "x", "name": "n"}, HI, {"role": "system"}),
        ["renamed:developer=system"],
    ),
    (
        "max_completion_tokens",
        ask(max_tokens=5),
        ask(max_completion_tokens=5),
        ["renamed:max_tokens=max_completion_tokens"],
    ),
    (
        "max_completion_tokens",
        ask(max_tokens=5, max_completion_tokens=7),
        ask(max_completion_tokens=7),
        ["renamed:max_tokens=max_completion_tokens"],
    ),
    (
        "max_tokens",
        ask(max_completion_tokens=5),
        ask(max_tokens=5),
        ["renamed:max_completion_tokens=max_tokens"],
    ),
    (
        "no_message_names",
        ask(
            {**HI, "name": "Ada"}, {"role": "tool", "name": "f"}, {"role": "function", "name": "f"}
        ),
        ask(HI, {"role": "tool", "name": "f"}, {"role": "function", "name": "f"}),
        ["dropped:messages.name"],
    ),
    (
        "object_as_schema",
        ask(response_format={"type": "json_object"}),
        ask(
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "object"}},
            }
        ),
        ["renamed:response_format=json_schema"],
    ),
    ("object_as_schema", ask(response_format=FORMAT), ask(response_format=FORMAT), []),
    (
        "plain_messages",
        ask(HI, SAID, make_calls(write_call(), reasoning="Hm")),
        ask(HI, {"role": "assistant", "content": "a"}, make_calls(write_call())),
        ["dropped:messages.extra"],
    ),
    ("random_seed", ask(seed=7), ask(random_seed=7), ["renamed:seed=random_seed"]),
    (
        "reasoning_field",
        ask(HI, SAID),
        ask(HI, {"role": "assistant", "content": "a", "reasoning": "Hm", "annotations": []}),
        ["renamed:reasoning_content=reasoning"],
    ),
    (
        "schema_as_grammar",
        ask(response_format=FORMAT),
        ask(response_format={"type": "json", "value": SCHEMA}),
        ["renamed:response_format=json"],
    ),
    (
        "schema_as_grammar",
        ask(response_format={"type": "json_object"}),
        ask(response_format={"type": "json", "value": {"type": "object"}}),
        ["renamed:response_format=json"],
    ),
    (
        "schema_as_text",
        ask(response_format=FORMAT),
        ask(
            {
                "role": "system",
                "content": "Answer with a JSON object of this schema: "
                + msgspec.json.encode(SCHEMA).decode(),
            },
            HI,
            response_format={"type": "json_object"},
        ),
        ["clamped:response_format=json_object"],
    ),
    ("stop_list", ask(stop="END"), ask(stop=["END"]), []),
    ("stop_list", ask(stop=["a", "b"]), ask(stop=["a", "b"]), []),
    (
        "tool_choice_words",
        ask(tools=[WEATHER, {"function": {"name": "x"}}], tool_choice=WEATHER),
        ask(tools=[WEATHER], tool_choice="required"),
        ["renamed:tool_choice=required"],
    ),
]


@pytest.mark.parametrize(
    ("name", "body", "written", "words"), CASES, ids=[f"{n}:{c[0]}" for n, c in enumerate(CASES)]
)
def test_a_rewrite_does_what_its_name_says(
    name: Rewrite, body: dict[str, Any], written: dict[str, Any], words: list[str]
) -> None:
    assert apply(body, name) == (written, words)
    # Nothing is left to do, whatever else is rewritten.
    assert apply(written, name)[0] == written


def test_every_rewrite_is_shown_here() -> None:
    # These two change what the gateway does, not what the body says.
    assert {case[0] for case in CASES} == {*REWRITES} - {"n_fan_out", "no_stream_options"}
    assert Dialect((), ("n_fan_out",)).fans_out
    assert not Dialect((), ("no_stream_options",)).asks_usage
    plain = Dialect((), ())
    assert (plain.fans_out, plain.asks_usage, plain.touches(b'{"n":2}')) == (False, True, False)


@pytest.mark.parametrize("name", REWRITES)
@pytest.mark.parametrize(
    "more",
    [
        {},
        # Schema-valid oddities of the official clients' own tests.
        {"tools": [{"foo": "bar"}], "tool_choice": {"foo": "bar"}},
        {"tools": [{"function": "x"}], "tool_choice": {"function": "x"}},
        {"tools": [WEATHER], "tool_choice": "auto", "stop": []},
        {"tools": [WEATHER], "tool_choice": {"function": {"name": "none of these"}}},
        {"response_format": {"foo": "bar"}},
        {"response_format": {"type": "text"}},
        {"response_format": {"type": "json_schema", "json_schema": "x"}},
    ],
)
def test_what_needs_no_rewrite_stays(name: Rewrite, more: dict[str, Any]) -> None:
    body = ask({"foo": "bar"}, **more)
    kept = "plain_messages" in name or name in ("context_error", "schema_as_grammar")
    written, words = apply(body, name)
    if not kept:
        assert (written, words) == (body, [])
    assert not {"tools", "tool_choice"} & {word.partition("=")[0] for word in words}


@pytest.mark.parametrize("name", REWRITES)
def test_a_legacy_text_request_has_no_messages_to_rewrite(name: Rewrite) -> None:
    prompt = '"developer" "name" "reasoning_content" "messages"'
    body = {"model": "m", "prompt": [prompt], "max_tokens": 5, "response_format": FORMAT}
    written, _ = apply(body, name)
    assert (written["prompt"], written["max_tokens"]) == ([prompt], 5)


def test_thoughts_renamed_for_a_vendor_survive_its_plain_messages() -> None:
    written, words = apply(ask(HI, SAID), "plain_messages", "reasoning_field")
    assert written["messages"][1] == {"role": "assistant", "content": "a", "reasoning": "Hm"}
    assert words == ["renamed:reasoning_content=reasoning", "dropped:messages.extra"]


def test_drops_are_told_unless_they_meant_nothing() -> None:
    body = ask(logit_bias={"1": 1}, user="u", store=False, seed=None, presence_penalty=0.0)
    written, words = apply(
        body, drops=("logit_bias", "user", "store", "seed", "presence_penalty", "top_k")
    )
    assert written == ask()
    assert words == ["dropped:logit_bias", "dropped:user"]


@pytest.mark.parametrize(
    ("body", "rewrites", "drops"),
    [
        (ask(user="u"), (), ("user",)),
        (ask({**HI, "name": "Ada"}), ("no_message_names",), ()),
        (ask(HI, SAID), ("plain_messages",), ()),
        (ask(response_format=FORMAT), ("schema_as_text",), ()),
    ],
)
def test_a_strict_client_loses_nothing(body: Any, rewrites: Any, drops: Any) -> None:
    apply(body, *rewrites, drops=drops)
    with pytest.raises(GatewayError, match="x-trunkline-strict") as caught:
        apply(body, *rewrites, drops=drops, strict=True)
    assert caught.value.code == "invalid_request"


def test_a_strict_client_takes_other_spellings() -> None:
    body = ask({"role": "developer", "content": "x"}, SAID, max_tokens=5, store=False)
    names: tuple[Rewrite, ...] = ("developer_as_system", "max_completion_tokens", "reasoning_field")
    assert apply(body, *names, drops=("store",), strict=True) == apply(
        body, *names, drops=("store",)
    )


@pytest.mark.parametrize(
    ("body", "rewrites"),
    [
        (b'{"messages":[{"role":"developer","x":1e999}]}', ("developer_as_system",)),
        (b'{"messages":[{"a":1e999}]}', ("plain_messages",)),
        (b'{"messages":[],"response_format":{"a":-1e999}}', ("schema_as_grammar",)),
    ],
)
def test_a_number_beyond_all_ranges_is_the_clients_fault(body: bytes, rewrites: Any) -> None:
    with pytest.raises(GatewayError, match="body: Number out of range") as caught:
        Dialect((), rewrites).apply(read_fields(body), Changes())
    assert caught.value.code == "invalid_request"


KEYS = re.compile(rb'"[a-z_]+"')
some_names = st.lists(st.sampled_from(REWRITES), max_size=4, unique=True)
some_drops = st.lists(st.sampled_from([*NAMES, "x.y", "naïve", 'a"b']), max_size=3, unique=True)
messages = st.lists(
    st.sampled_from(
        [HI, SAID, {**HI, "name": "n"}, {"role": "developer"}, {"role": "tool", "name": "f"}]
    ),
    min_size=1,
)


def fit_lists(fields: dict[str, Any]) -> dict[str, Any]:
    """The same with lists of objects where a request is refused that has anything else."""
    lists = {
        name: [each for each in fields[name] if isinstance(each, dict)]
        if isinstance(fields[name], list)
        else []
        for name in ("tools", "functions")
        if fields.get(name) is not None
    }
    return fields | lists


some_fields = st.dictionaries(
    st.sampled_from([*NAMES, "max_completion_tokens", "x.y", "naïve", 'a"b', "extra"]), any_json
).map(fit_lists)


def escape_all(body: bytes) -> bytes:
    """The same JSON with every key and word of letters spelled with an escape."""

    def escape(found: re.Match[bytes]) -> bytes:
        word = found[0]
        return b'"\\u%04x%b' % (word[1], word[2:])

    return KEYS.sub(escape, body)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("user", rb'{"\u0075ser":1}'),
        ("user", rb'{"use\u0072":1}'),
        ("x_0", rb'{"x\u005f0":1}'),
        ("x_0", rb'{"x_\u0030":1}'),
        ("a.b", rb'{"a\u002eb":1}'),
        ("a/b", rb'{"a\/b":1}'),
        ("naïve", rb'{"na\u00efve":1}'),
        ('a"b', rb'{"a\"b":1}'),
    ],
)
def test_however_a_name_is_spelled_it_is_dropped(name: str, body: bytes) -> None:
    dialect, fields, changes = Dialect((name,), ()), read_fields(body), Changes()
    assert dialect.touches(body)
    dialect.apply(fields, changes)
    assert (fields, changes.words) == ({}, [f"dropped:{name}"])


def test_text_that_only_looks_escaped_is_not_taken_apart() -> None:
    assert not Dialect(("user",), ()).touches(rb'{"prompt":"caf\u00e9 \u2028 \u0000"}')


@some_examples
@given(messages, some_fields, some_names, some_drops, st.booleans())
def test_what_is_not_touched_would_not_be_changed(
    messages: list[Any], more: dict[str, Any], names: Any, drops: Any, escaped: bool
) -> None:
    more = {**more, "messages": messages}
    body = msgspec.json.encode(more)
    body = escape_all(body) if escaped else body
    dialect = Dialect(drops, names)
    fields, changes = read_fields(body), Changes()
    before = {name: bytes(raw) for name, raw in fields.items()}
    dialect.apply(fields, changes)
    if not dialect.touches(body):
        assert {name: bytes(raw) for name, raw in fields.items()} == before
        assert changes.words == []
    again, told = read_fields(msgspec.json.encode(more)), Changes()
    dialect.apply(again, told)
    assert changes.words == told.words


@some_examples
@given(messages, some_fields, some_names, some_drops)
def test_only_what_is_named_goes(
    messages: list[Any], more: dict[str, Any], names: Any, drops: Any
) -> None:
    body = {**more, "messages": messages}
    written, words = apply({k: v for k, v in body.items() if v is not None}, *names, drops=drops)
    told = {word.rpartition("=")[2] for word in words if word.startswith("renamed:")}
    for name in drops:
        assert name not in written or name in told
        meant = body.get(name) is not None and body[name] not in MEANINGLESS.get(name, ())
        if name != "messages":
            assert (f"dropped:{name}" in words) == meant
