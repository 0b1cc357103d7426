import contextlib
import json
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from trunkline.errors import FieldFault, GatewayError
from trunkline.wire.body import JsonObject, encode_json, read_body, read_fields
from wire.sample import any_json, some_examples


class Part(msgspec.Struct):
    url: str


class Inner(msgspec.Struct):
    share: Annotated[float, Meta(ge=0, le=1)] | None = None


class Asked(msgspec.Struct):
    name: Annotated[str, Meta(min_length=1)]
    count: int
    parts: list[Part] | None = None
    objects: list[JsonObject] | None = None
    inner: Inner | None = None
    labels: dict[str, int] | None = None


DECODER = msgspec.json.Decoder(Asked)


def refuse(body: bytes) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        read_body(DECODER, body)
    error = caught.value
    assert error.code == "validation_error"
    assert error.status == 422
    assert error.faults
    assert "\n" not in error.message
    return error


@pytest.mark.parametrize(
    ("body", "loc", "message"),
    [
        (b'{"count":1}', ("body", "name"), "Field required"),
        (b'{"name":"","count":1}', ("body", "name"), "length >= 1"),
        (b'{"name":null,"count":1}', ("body", "name"), "Expected `str`, got `null`"),
        (b'{"name":"n","count":"1"}', ("body", "count"), "Expected `int`, got `str`"),
        (b'{"name":"n","count":true}', ("body", "count"), "Expected `int`, got `bool`"),
        (
            b'{"name":"n","count":1,"parts":[{"url":"u"},{"url":5}]}',
            ("body", "parts", 1, "url"),
            "Expected `str`, got `int`",
        ),
        (
            b'{"name":"n","count":1,"parts":[{}]}',
            ("body", "parts", 0, "url"),
            "Field required",
        ),
        (
            b'{"name":"n","count":1,"objects":[{},3]}',
            ("body", "objects", 1),
            "Expected `object`, got `int`",
        ),
        (
            b'{"name":"n","count":1,"inner":{"share":1.5}}',
            ("body", "inner", "share"),
            "<= 1.0",
        ),
        (b'{"name":"n","count":1,"labels":{"a":"b"}}', ("body", "labels"), "Expected `int`"),
    ],
)
def test_a_fault_is_named_by_its_place(
    body: bytes, loc: tuple[str | int, ...], message: str
) -> None:
    error = refuse(body)
    [fault] = error.faults
    assert fault.loc == loc
    assert message in fault.msg
    assert error.message == f"{'.'.join(map(str, loc))}: {fault.msg}"
    assert error.param == [step for step in loc if isinstance(step, str)][-1]


def test_a_missing_field_has_the_type_that_fastapi_gives_it() -> None:
    assert refuse(b'{"count":1}').faults == (
        FieldFault(("body", "name"), "Field required", "missing"),
    )


def test_every_faulty_field_is_named() -> None:
    error = refuse(b'{"count":"x","inner":{"share":-1},"unknown":[]}')
    assert [fault.loc for fault in error.faults] == [
        ("body", "name"),
        ("body", "count"),
        ("body", "inner", "share"),
    ]
    assert error.message == "body.name: Field required (and 2 more)"
    assert error.param == "name"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty"),
        (b"  \n", "the body is empty"),
        (b"{", "JSON decode error"),
        (b"nonsense", "JSON decode error"),
        (b'{"name":NaN}', "JSON decode error"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b'{"name":"\xff","count":1}', "UTF-8"),
        (b'{"\xff":1,"name":3}', "UTF-8"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"name":1,"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "Expected `str`"),
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes, message: str) -> None:
    error = refuse(body)
    assert message in error.message
    assert error.faults[0].loc[0] == "body"


def test_unknown_fields_and_nulls_pass() -> None:
    asked = read_body(DECODER, b'{"name":"n","count":1,"x":{"y":[1]},"parts":null}')
    assert asked == Asked("n", 1)


@some_examples
@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for read in (lambda: read_body(DECODER, body), lambda: read_fields(body)):
        with contextlib.suppress(GatewayError):
            read()


@some_examples
@given(st.dictionaries(st.sampled_from(Asked.__struct_fields__), any_json))
def test_any_object_is_read_or_refused(value: dict[str, object]) -> None:
    body = msgspec.json.encode(value)
    try:
        faults: tuple[FieldFault, ...] = ()
        assert isinstance(read_body(DECODER, body), Asked)
    except GatewayError as error:
        faults = error.faults
    assert {str(fault.loc[1]) for fault in faults} <= {*Asked.__struct_fields__}


@some_examples
@given(st.dictionaries(st.text(), any_json))
def test_fields_are_kept_verbatim_save_nulls(value: dict[str, object]) -> None:
    for body in (json.dumps(value).encode(), msgspec.json.encode(value)):
        fields = read_fields(body)
        assert {name: msgspec.json.decode(raw) for name, raw in fields.items()} == {
            name: item for name, item in value.items() if item is not None
        }


def test_fields_keep_their_own_spelling() -> None:
    fields = read_fields(b'{"a" : 1.50 , "b":"\\u00e9", "c": null, "d":"null"}')
    assert {name: bytes(raw) for name, raw in fields.items()} == {
        "a": b"1.50",
        "b": b'"\\u00e9"',
        "d": b'"null"',
    }


@pytest.mark.parametrize("body", [b"[]", b"", b'{"a":1', b'{"a":NaN}'])
def test_fields_of_what_is_no_object_are_refused(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        read_fields(body)
    assert caught.value.code == "validation_error"


def test_json_is_written_without_blanks() -> None:
    assert encode_json({"a": ["é", None]}) == '{"a":["é",null]}'.encode()
