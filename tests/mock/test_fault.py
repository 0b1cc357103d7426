import pytest

from trunkline.errors import KINDS, GatewayError
from trunkline.mock.fault import FAULTS, PLACES, Fault, Kind, read_fault


def test_there_are_at_least_thirty_kinds_and_each_is_one_sentence() -> None:
    assert len(FAULTS) >= 30
    for name, kind in FAULTS.items():
        assert kind.says.endswith("."), name
        assert ". " not in kind.says, name
        assert kind.at, name
        assert {*kind.at} <= {*PLACES}, name
        assert {*kind.codes} <= {*KINDS}, name


def test_a_fault_is_read_from_one_word_with_parameters() -> None:
    assert read_fault("cut") == Fault("cut")
    fault = read_fault("cut:at=after_content,after=3,seed=7")
    assert fault == Fault("cut", at="after_content", after_chunks=3, seed=7)
    assert read_fault("delay:delay=1.5").delay_s == 1.5
    assert read_fault("status:status=418,retry-after=2").retry_after == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nope", "there is no fault 'nope'"),
        ("cut:at=nowhere", "Invalid enum value 'nowhere'"),
        ("html:at=end", "'html' cannot be at 'end', only before_content"),
        ("cut:after", "'after' has no '='"),
        ("cut:colour=red", "unknown field `colour`"),
        ("delay:delay_s=long", "Expected `float`"),
    ],
)
def test_a_fault_that_is_none_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_fault(text)
    assert caught.value.code == "invalid_request"
    assert why in caught.value.message


def test_what_is_expected_follows_from_the_place_and_the_stream() -> None:
    cut = FAULTS["cut"]
    assert cut.expect("head", stream=True) == "error before content"
    assert cut.expect("before_content", stream=True) == "error before content"
    assert cut.expect("after_content", stream=True) == "error after content"
    assert cut.expect("end", stream=True) == "either"
    assert cut.expect("after_content", stream=False) == "error before content"
    assert cut.expect("end", stream=False) == "complete"
    assert Fault("byte_writes").expect(stream=True) == "complete"
    assert Fault("length_finish").expect(stream=True) == "length"
    assert Fault("filter_finish").expect(stream=False) == "filtered"


def test_a_kind_says_what_it_exists_for() -> None:
    assert FAULTS["comments"].applies("chat", "openai", stream=True)
    assert not FAULTS["comments"].applies("chat", "openai", stream=False)
    assert not FAULTS["comments"].applies("chat", "bedrock", stream=True)
    assert not FAULTS["length_finish"].applies("embeddings", stream=False)


def test_the_first_place_is_the_default() -> None:
    assert Fault("cut").place == "head"
    assert Fault("early_end").place == "after_content"
    assert Kind("Does something.").at == ("head",)
