"""Which models a grant allows."""

import pytest

from trunkline.access.grant import Grant, Seat, quote_text
from trunkline.errors import GatewayError
from trunkline.terms import NO_ACCOUNT_TERMS, AccountTerms, Limits, Terms

TERMS = Terms(limits=Limits(rpm=5))
B_TERMS = AccountTerms(over_budget="clamp")


def make_grant(*models: str, every_model: bool = False) -> Grant:
    seat = Seat(
        account_id="a",
        account_terms=NO_ACCOUNT_TERMS,
        key_id="k",
        key_subject="first",
        key_terms=TERMS,
    )
    return Grant(
        key_id="k",
        key_subject="first",
        account_id="a",
        accounts=frozenset("ab"),
        terms=TERMS,
        account_terms={"a": NO_ACCOUNT_TERMS, "b": B_TERMS},
        seat=seat,
        models=None if every_model else models,
    )


def test_a_seat_is_found_at_its_own_accounts_only() -> None:
    grant = make_grant()
    assert grant.find_seat("a") is grant.seat
    assert grant.find_seat("b") == Seat(
        account_id="b", account_terms=B_TERMS, key_id="k", key_subject="first", key_terms=TERMS
    )
    assert grant.find_seat("c") is None


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
    assert make_grant(every_model=True).allows_model("anything")
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
