"""Which models a grant allows."""

import pytest

from trunkline.access.grant import Grant, quote_text
from trunkline.errors import GatewayError


def make_grant(*models: str) -> Grant:
    return Grant(key_id="k", account_id="a", accounts=frozenset("a"), models=models)


@pytest.mark.parametrize(
    ("pattern", "model", "allowed"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o", "GPT-4o", False),
        ("gpt-4o*", "gpt-4o-mini", True),
        ("local/*", "local/smollm2", True),
        ("local/*", "local/a/b", True),
        ("local/*", "nonlocal/a", False),
        ("*", "", True),
        ("gpt-?", "gpt-4", True),
        ("gpt-?", "gpt-45", False),
        ("ft:m[1]", "ft:m[1]", True),
        ("ft:m[1]", "ft:m1", False),
        ("a.c", "abc", False),
        ("a", "a\n", False),
    ],
)
def test_patterns(pattern: str, model: str, allowed: bool) -> None:
    assert make_grant(pattern).allows_model(model) is allowed
    assert make_grant("other", pattern).allows_model(model) is allowed


def test_no_patterns_allow_every_model_and_an_empty_list_none() -> None:
    assert Grant(key_id="k", account_id="a", accounts=frozenset("a")).allows_model("anything")
    assert not make_grant().allows_model("anything")


def test_a_model_that_is_not_allowed_is_named() -> None:
    make_grant("gpt-4o").require_model("gpt-4o")
    with pytest.raises(GatewayError, match="'local/x'") as caught:
        make_grant("gpt-4o").require_model("local/x")
    assert (caught.value.code, caught.value.status) == ("permission_denied", 403)
    assert caught.value.param == "model"


def test_a_clients_text_is_quoted_short_and_harmless() -> None:
    assert quote_text("a\n\x1b[2J") == r"'a\n\x1b[2J'"
    assert len(quote_text("x" * 10_000)) < 110
