import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.routing.deadline import fit_deadlines, shorten
from trunkline.wishes import read_wishes

MODEL = Deadlines(connect_s=5, first_token_s=60, idle_s=30, total_s=600)


@pytest.mark.parametrize("stream", [True, False])
def test_nothing_is_made_for_a_client_that_wishes_nothing(*, stream: bool) -> None:
    assert fit_deadlines(MODEL, read_wishes({}), stream=stream) is MODEL


@pytest.mark.parametrize("stream", [True, False])
def test_a_wish_shortens_each_deadline_that_is_longer(*, stream: bool) -> None:
    fitted = fit_deadlines(MODEL, read_wishes({b"x-trunkline-timeout": b" 20 "}), stream=stream)
    assert fitted == Deadlines(connect_s=5, first_token_s=20, idle_s=20, total_s=20)


@pytest.mark.parametrize("wish", [b"600", b"601", b"1e9"])
def test_a_wish_never_lengthens(wish: bytes) -> None:
    assert fit_deadlines(MODEL, read_wishes({b"x-trunkline-timeout": wish}), stream=True) is MODEL


@pytest.mark.parametrize("wish", [b"", b"0", b"-1", b"soon", b"nan", b"inf", b"1 s", b"\xff"])
def test_a_wish_that_is_no_time_is_refused_by_name(wish: bytes) -> None:
    with pytest.raises(GatewayError, match="x-trunkline-timeout") as caught:
        fit_deadlines(MODEL, read_wishes({b"x-trunkline-timeout": wish}), stream=True)
    assert caught.value.code == "invalid_request"


@pytest.mark.parametrize(("patience", "total_s"), [(b"60", 59), (b"10", 9.5), (b"600", 599)])
def test_a_whole_answer_comes_before_its_client_gives_up(patience: bytes, total_s: float) -> None:
    wishes = read_wishes({b"x-stainless-read-timeout": patience})
    fitted = fit_deadlines(MODEL, wishes, stream=False)
    assert fitted.total_s == total_s
    assert fitted.first_token_s == min(60, total_s)


def test_a_streams_client_is_kept_alive_instead() -> None:
    wishes = read_wishes({b"x-stainless-read-timeout": b"1"})
    assert fit_deadlines(MODEL, wishes, stream=True) is MODEL


@pytest.mark.parametrize("patience", [b"", b"0", b"NOT_GIVEN", b"nan", b"inf"])
def test_a_clients_patience_that_is_no_time_is_ignored(patience: bytes) -> None:
    headers = {b"x-stainless-read-timeout": patience}
    assert fit_deadlines(MODEL, read_wishes(headers), stream=False) is MODEL


def test_the_shorter_of_two_wishes_counts() -> None:
    headers = {b"x-trunkline-timeout": b"7", b"x-stainless-read-timeout": b"60"}
    assert fit_deadlines(MODEL, read_wishes(headers), stream=False).total_s == 7


def test_what_an_attempt_has_left() -> None:
    assert shorten(MODEL, 0) is MODEL
    assert shorten(MODEL, 560) == Deadlines(5, 40, 30, 40)
    with pytest.raises(GatewayError, match=r"within 600 s \(total_s\)") as caught:
        shorten(MODEL, 600)
    assert caught.value.code == "upstream_timeout"


_SECONDS = st.floats(0.01, 10_000)


@given(
    st.builds(Deadlines, _SECONDS, _SECONDS, _SECONDS, _SECONDS),
    st.none() | _SECONDS,
    st.none() | _SECONDS,
    st.booleans(),
)
def test_no_client_gets_more_than_its_model_gives(
    model: Deadlines, wish: float | None, patience: float | None, stream: bool
) -> None:
    headers = {}
    if wish is not None:
        headers[b"x-trunkline-timeout"] = str(wish).encode()
    if patience is not None:
        headers[b"x-stainless-read-timeout"] = str(patience).encode()
    fitted = fit_deadlines(model, read_wishes(headers), stream=stream)
    for field in Deadlines.__struct_fields__:
        assert 0 < getattr(fitted, field) <= getattr(model, field)
    assert wish is None or fitted.total_s <= wish
    assert stream or patience is None or fitted.total_s < patience or fitted is model
