import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire.emulate_form import Form, FormReader, Halves
from wire.sample import any_json, may_fail, some_examples

TOOLS = frozenset({"get_weather", 'näme "q"'})
TEXT = Form(TOOLS, "text", single=False)
JSON = Form(TOOLS, "json", single=False)
SINGLE = Form(TOOLS, None, single=True)
CALL = '{"name":"get_weather","arguments":{}}'
calls = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(sorted(TOOLS)),
            "arguments": st.dictionaries(st.text(), any_json, max_size=3),
        }
    ),
    min_size=1,
    max_size=3,
)


def read(form: Form, *pieces: str) -> tuple[FormReader, str, list[tuple[str, str]]]:
    """The reader, the message's text, and name and arguments of each call."""
    found: dict[int, tuple[str, str]] = {}
    reader, text = FormReader(form), ""
    for piece in pieces:
        said = reader.feed(piece)
        text += said.text
        for call in said.calls:
            assert (call.name is not None) == (call.index not in found)
            name, arguments = found.get(call.index, (call.name or "", ""))
            found[call.index] = (name, arguments + call.arguments)
    assert list(found) == list(range(len(found)))
    return reader, text, list(found.values())


@st.composite
def written(draw: st.DrawFn, value: Any) -> list[str]:
    """JSON as a model may write it, cut anywhere, and in single characters now and then."""
    styles: list[dict[str, Any]] = [{}, {"indent": 3}, {"separators": (",", ":")}]
    style = draw(st.sampled_from(styles))
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), **style)
    text = draw(st.sampled_from(["", " ", "\n\t"])) + text + draw(st.sampled_from(["", " \r\n"]))
    if draw(st.booleans()):
        return list(text)
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    edges = [0, *places, len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges)]


@some_examples
@given(st.data(), st.text())
def test_a_message_is_its_text_however_it_is_written_and_cut(
    data: st.DataObject, text: str
) -> None:
    reader, said, found = read(TEXT, *data.draw(written({"message": text})))
    assert (said, found, reader.complete, reader.calling) == (text, [], True, False)


@some_examples
@given(st.data(), calls)
def test_calls_are_name_and_arguments_however_they_are_written_and_cut(
    data: st.DataObject, given_calls: list[dict[str, Any]]
) -> None:
    pieces = data.draw(written({"tool_calls": given_calls}))
    reader, said, found = read(TEXT, *pieces)
    assert (said, reader.complete, reader.calling) == ("", True, True)
    assert reader.calls == len(given_calls)
    assert [
        {"name": name, "arguments": json.loads(arguments)} for name, arguments in found
    ] == given_calls
    whole = "".join(pieces)
    assert all(arguments in whole for _, arguments in found)


@some_examples
@given(st.data(), any_json)
def test_a_message_of_json_is_its_json_as_written(data: st.DataObject, value: object) -> None:
    pieces = data.draw(written({"message": value}))
    reader, said, _ = read(JSON, *pieces)
    assert reader.complete
    assert json.loads(said) == value
    assert said in "".join(pieces)


@some_examples
@given(st.data(), calls)
def test_the_cut_calls_are_not_counted(
    data: st.DataObject, given_calls: list[dict[str, Any]]
) -> None:
    text = json.dumps({"tool_calls": given_calls})
    end = data.draw(st.integers(0, len(text) - 1))
    reader, _, found = read(TEXT, text[:end])
    assert not reader.complete
    assert reader.calls <= len(found) <= reader.calls + 1
    for (name, arguments), call in zip(found[: reader.calls], given_calls, strict=False):
        assert {"name": name, "arguments": json.loads(arguments)} == call


def test_arguments_may_come_before_the_name() -> None:
    text = '{"tool_calls":[{"arguments":{"a":"}"},"name":"get_weather"}]}'
    for pieces in ([text], list(text)):
        reader, _, found = read(TEXT, *pieces)
        assert (reader.complete, found) == (True, [("get_weather", '{"a":"}"}')])


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\ud83d\udc4b", "👋"),
        (r"\ud83d", "\ufffd"),
        (r"\udc4b!", "\ufffd!"),
        (r"\ud83d\ud83d\udc4b\n", "\ufffd👋\n"),
        (r"\ud83dx", "\ufffdx"),
        (r"\ud83d\\udc4b", "\ufffd\\udc4b"),
        (r"\"\\\/\b\f\n\r\té\u00e9", '"\\/\b\f\n\r\téé'),
        ("\ud83d\udc4b", "👋"),
        ("\ud83d\\udc4b", "👋"),
        ("\n", "\n"),
    ],
)
def test_escapes_and_halves_of_pairs(escaped: str, text: str) -> None:
    whole = f'{{"message":"{escaped}"}}'
    for pieces in ([whole], list(whole)):
        reader, said, _ = read(TEXT, *pieces)
        assert (said, reader.complete) == (text, True)


def test_arguments_keep_the_escape_of_half_a_pair() -> None:
    text = r'{"tool_calls":[{"name":"get_weather","arguments":{"a":"\ud83d"}}]}'
    for pieces in ([text], list(text)):
        assert read(TEXT, *pieces)[2] == [("get_weather", r'{"a":"\ud83d"}')]


def test_a_pair_that_came_apart_in_arguments_is_joined() -> None:
    text = '{"tool_calls":[{"name":"get_weather","arguments":{"a":"\ud83d\udc4b"}}]}'
    for pieces in ([text], list(text)):
        assert read(TEXT, *pieces)[2] == [("get_weather", '{"a":"👋"}')]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (TEXT, "Hello"),
        (TEXT, '"Hello"'),
        (TEXT, "[]"),
        (TEXT, "{}"),
        (TEXT, '{"answer":"x"}'),
        (TEXT, '{"message":5}'),
        (TEXT, '{"message":null}'),
        (TEXT, '{"message":{"a":1}}'),
        (TEXT, '{"message":"a","message":"b"}'),
        (TEXT, '{"message":"a","tool_calls":[]}'),
        (TEXT, '{"message":"a"}.'),
        (TEXT, '{"message":"a"]'),
        (TEXT, '{"message" "a"}'),
        (TEXT, r'{"message":"\x"}'),
        (TEXT, r'{"message":"\u12g4"}'),
        (TEXT, r'{"message":"\u+123"}'),
        (TEXT, '{"tool_calls":[]}'),
        (TEXT, '{"tool_calls":{}}'),
        (TEXT, '{"tool_calls":[5]}'),
        (TEXT, '{"tool_calls":[{}]}'),
        (TEXT, '{"tool_calls":[{"name":"get_weather"}]}'),
        (TEXT, '{"tool_calls":[{"name":"other","arguments":{}}]}'),
        (TEXT, '{"tool_calls":[{"name":"get_weather","arguments":[]}]}'),
        (TEXT, '{"tool_calls":[{"name":"get_weather","arguments":"{}"}]}'),
        (TEXT, '{"tool_calls":[{"name":"get_weather","arguments":null}]}'),
        (TEXT, '{"tool_calls":[{"name":"get_weather","arguments":{"a":}}]}'),
        (TEXT, '{"tool_calls":[{"name":"get_weather","arguments":{"a":NaN}}]}'),
        (TEXT, '{"tool_calls":[{"name":"get_weather","arguments":{"a":1]}}]}'),
        (TEXT, '{"tool_calls":[{"name":"get_weather","name":"get_weather","arguments":{}}]}'),
        (TEXT, '{"tool_calls":[{"name":"get_weather","arguments":{},"id":"x"}]}'),
        (JSON, '{"message":{"a":}}'),
        (JSON, '{"message":nul}'),
        (JSON, '{"message":}'),
        (JSON, '{"message":' + "[" * 100_000 + "]" * 100_000 + "}"),
        (SINGLE, '{"message":"a"}'),
        (SINGLE, f'{{"tool_calls":[{CALL},{CALL}]}}'),
    ],
)
def test_what_is_out_of_form_is_an_upstream_error(form: Form, text: str) -> None:
    for pieces in ([text], list(text)):
        with pytest.raises(GatewayError) as caught:
            read(form, *pieces)
        assert caught.value.code == "upstream_error"
        assert text not in caught.value.message


def test_more_than_one_call_where_more_are_allowed() -> None:
    reader, _, found = read(TEXT, f'{{"tool_calls":[{CALL} , {CALL}]}}')
    assert (reader.calls, len(found), reader.complete) == (2, 2, True)


@some_examples
@given(st.text(alphabet=st.characters()), st.sampled_from([TEXT, JSON, SINGLE]))
def test_any_text_is_read_or_refused(text: str, form: Form) -> None:
    for prefix in ("", "{", '{"message":', '{"tool_calls":[{"name":"get_weather","arguments":'):
        with may_fail("upstream_error"):
            read(form, prefix, text)


@some_examples
@given(st.lists(st.text(st.sampled_from("a\ud83d\udc4bé")), max_size=6))
def test_halves_are_joined_as_in_the_whole_text(pieces: list[str]) -> None:
    whole = "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    halves = Halves()
    assert "".join(map(halves.feed, pieces)) + halves.flush() == whole
