"""The three ways to send a key, and what is no key at all."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.access.credential import normalise_text, read_account, read_key

KEYS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), min_size=1
)


@given(key=KEYS)
def test_a_key_is_read_from_each_place(key: str) -> None:
    sent = key.encode()
    assert read_key(sent, None) == sent
    assert read_key(None, b"Bearer " + sent) == sent
    user = sent.replace(b":", b"")
    assert read_key(None, b"Basic " + b64encode(user + b":")) == user


@given(key=st.text(st.characters(max_codepoint=255, exclude_categories=["Cc", "Zs"]), min_size=1))
def test_latin_1_and_utf_8_name_the_same_key(key: str) -> None:
    latin, utf = key.encode("latin-1"), key.encode()
    # A few Latin-1 texts happen to be UTF-8 of another text; those can only be read as that.
    assert normalise_text(latin) in {utf, latin}
    assert normalise_text(utf) == utf


@given(value=st.binary())
def test_whatever_arrives_is_read_or_refused_but_never_fails(value: bytes) -> None:
    for authorization in (
        value,
        b"Bearer " + value,
        b"Basic " + value,
        b"Basic " + b64encode(value),
    ):
        key = read_key(None, authorization)
        assert key is None or key.decode().encode() == key
    assert read_key(value, None) == normalise_text(value)
    read_account(value)


@given(value=st.binary())
def test_a_normal_form_stays_as_it_is(value: bytes) -> None:
    assert normalise_text(normalise_text(value)) == normalise_text(value)


@pytest.mark.parametrize(
    ("x_api_key", "authorization", "key"),
    [
        (None, None, None),
        (b"", None, b""),
        (b"a", b"Bearer b", b"a"),
        (b"", b"Bearer b", b""),  # present, so it decides
        (b"  ", b"Bearer b", b""),
        (b" My API Key\t", None, b"My API Key"),
        (None, b"Bearer My API Key", b"My API Key"),
        (None, b"bearer a", b"a"),
        (None, b"BEARER   a  ", b"a"),
        (None, b"  Bearer a", b"a"),
        (None, b"Bearer", b""),
        (None, b"Bearer ", b""),
        (None, b"Bearera", None),
        (None, b"", None),
        (None, b"a", None),
        (None, b"Digest a", None),
        (None, b"basic " + b64encode(b"key:"), b"key"),
        (None, b"Basic  " + b64encode(b"key:pass:word") + b" ", b"key"),
        (None, b"Basic " + b64encode(b"key"), b"key"),
        (None, b"Basic " + b64encode(b":password"), b""),
        (None, b"Basic " + b64encode("schlüssel:".encode("latin-1")), "schlüssel".encode()),
        (None, b"Basic !!!", None),
        (None, b"Basic a2V5", b"key"),
        (None, b"Basic a2V5OA", None),  # without its padding
        (None, b"Basic", b""),
    ],
)
def test_each_form(x_api_key: bytes | None, authorization: bytes | None, key: bytes | None) -> None:
    assert read_key(x_api_key, authorization) == key


@pytest.mark.parametrize(
    ("value", "account"),
    [
        (None, None),
        (b"", None),
        (b"  ", None),
        (b"team a", "team a"),
        (b" team a ", "team a"),
        ("Zürich".encode(), "Zürich"),
        ("Zürich".encode("latin-1"), "Zürich"),
    ],
)
def test_the_selected_account(value: bytes | None, account: str | None) -> None:
    assert read_account(value) == account
