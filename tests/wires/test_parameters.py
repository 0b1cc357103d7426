"""Every cell of the table of parameters: what a column promises is what becomes of a request."""

from collections.abc import Iterator
from typing import Any

import pytest

from trunkline.routing.table import Wire
from trunkline.routing.translation import find_format, list_columns
from trunkline.wire.parameter import MEANINGLESS, NAMES, Cell
from wires.samples import COMPANIONS, MODELS, SAMPLES, find_refusal, fit, fit_sample, says

COLUMNS = list_columns()
CELLS = [
    pytest.param(wire, name, cell, id=f"{wire}-{name}")
    for wire, column in COLUMNS.items()
    for name, cell in column.items()
    if says(wire, name)
]
TRANSLATED: list[Wire] = ["anthropic", "bedrock", "cohere", "gemini"]
FORMS = ("messages", "prompt", "images", "tools", "functions", "response_format", "stream")
CHOICES = ("tool_choice", "function_call", "parallel_tool_calls", "stream_options", "n")
UNTOLD = (*FORMS, *CHOICES)
"""Parts of the conversation itself: that they are written in the vendor's words goes untold."""
SGP_DEFAULTS = {"temperature": 0.2}
"""What SGP promises where a client says nothing; nobody needs to be told of it."""


def of_sort(*hows: str, by_code: bool) -> list[Any]:
    return [
        case
        for case in CELLS
        if case.values[2].how in hows and case.values[2].by_code is by_code  # type: ignore[union-attr]
    ]


def find(body: Any, path: str) -> list[Any]:
    """Every value at a dotted path; a list stands for each of its elements."""
    if isinstance(body, list):
        return [found for each in body for found in find(each, path)]
    if not isinstance(body, dict):
        return []
    step, _, rest = path.partition(".")
    if rest:
        return find(body.get(step), rest)
    if body.get("name") == step:
        return [body]
    return [body[step]] if step in body else []


def list_beyond(cell: Cell) -> Iterator[tuple[float, float]]:
    """Values out of a cell's range, and where they are moved to."""
    if cell.low is not None:
        yield cell.low - 1, cell.low
    if cell.high is not None:
        yield cell.high + 1, cell.high


def losses(words: list[str], name: str) -> list[str]:
    marks = (f"dropped:{name}", f"clamped:{name}=")
    return [word for word in words if word.startswith(marks)]


def test_every_wire_says_what_becomes_of_every_parameter() -> None:
    assert COLUMNS.keys() == MODELS.keys()
    assert SAMPLES.keys() == set(NAMES)
    for wire, column in COLUMNS.items():
        assert column.keys() >= set(NAMES), wire
        # Beyond these a vendor's own fields may be carried, and nothing else.
        for name in column.keys() - set(NAMES):
            assert column[name].how == "carried", (wire, name)


@pytest.mark.parametrize(("wire", "name", "cell"), of_sort("carried", "renamed", by_code=False))
def test_a_plain_value_is_sent(wire: Wire, name: str, cell: Cell) -> None:
    value = SAMPLES.get(name, "own")
    with_it, without = fit_sample(wire, name, value)
    place = cell.to or name
    assert find(with_it.body, place) == [value]
    assert find(without.body, place) != [value]
    assert losses(with_it.words, name) == []
    assert (f"renamed:{name}={place}" in with_it.words) == (cell.how == "renamed")
    assert find_refusal(wire, {**COMPANIONS.get(name, {}), name: value}, strict=True) is None


@pytest.mark.parametrize(("wire", "name", "cell"), of_sort("clamped", "defaulted", by_code=False))
def test_a_value_is_moved_into_the_range(wire: Wire, name: str, cell: Cell) -> None:
    place = cell.to or name
    inside = fit(wire, {name: SAMPLES[name]})
    assert find(inside.body, place) == [SAMPLES[name]]
    assert losses(inside.words, name) == []
    assert (f"renamed:{name}={place}" in inside.words) == (place != name)
    assert find_refusal(wire, {name: SAMPLES[name]}, strict=True) is None
    for beyond, bound in list_beyond(cell):
        refusal = find_refusal(wire, {name: beyond})
        if refusal is not None:
            # The client's own format does not go so far.
            assert (refusal.code, refusal.faults[0].loc[-1]) == ("validation_error", name)
            continue
        moved = fit(wire, {name: beyond})
        assert find(moved.body, place) == [bound]
        assert losses(moved.words, name) == [f"clamped:{name}={bound:.10g}"]
        strict = find_refusal(wire, {name: beyond}, strict=True)
        assert strict is not None
        assert (strict.status, strict.param) == (400, name)


@pytest.mark.parametrize(("wire", "name", "cell"), of_sort("defaulted", by_code=False))
def test_what_the_vendor_requires_is_sent_unasked(wire: Wire, name: str, cell: Cell) -> None:
    unasked = fit(wire, {}, strict=True)
    (value,) = find(unasked.body, cell.to or name)
    if SGP_DEFAULTS.get(name) == value:
        return
    assert f"defaulted:{name}={value}" in unasked.words


@pytest.mark.parametrize("wire", ["anthropic"])
def test_the_operators_limit_comes_before_the_wires(wire: Wire) -> None:
    fitted = fit(wire, {}, max_output=1234)
    assert (fitted.body["max_tokens"], fitted.words) == (1234, ["defaulted:max_tokens=1234"])


@pytest.mark.parametrize(
    ("wire", "name", "cell"), of_sort("dropped", by_code=False) + of_sort("dropped", by_code=True)
)
def test_what_the_vendor_does_not_know_is_dropped(wire: Wire, name: str, cell: Cell) -> None:
    with_it, without = fit_sample(wire, name, SAMPLES[name])
    assert with_it.sent == without.sent
    assert losses(with_it.words, name) == [f"dropped:{name}"]
    strict = find_refusal(wire, {**COMPANIONS.get(name, {}), name: SAMPLES[name]}, strict=True)
    assert strict is not None
    assert (strict.code, strict.status, strict.param) == ("invalid_request", 400, name)
    assert name in strict.message


@pytest.mark.parametrize(
    ("wire", "name", "cell"), of_sort("refused", by_code=False) + of_sort("refused", by_code=True)
)
def test_what_would_change_the_answer_is_refused(wire: Wire, name: str, cell: Cell) -> None:
    refusal = find_refusal(wire, {**COMPANIONS.get(name, {}), name: SAMPLES[name]})
    assert refusal is not None
    assert (refusal.code, refusal.status, refusal.param) == ("invalid_request", 400, name)
    assert fit(wire, COMPANIONS.get(name, {}))


@pytest.mark.parametrize(("wire", "name", "cell"), of_sort("carried", "renamed", by_code=True))
def test_what_is_more_than_a_value_arrives(wire: Wire, name: str, cell: Cell) -> None:
    with_it, without = fit_sample(wire, name, SAMPLES[name])
    if name == "stream_options":
        # Usage always comes: nothing is to be asked for.
        assert find(with_it.body, name) in ([], [{"include_usage": True}])
        assert without.sent[0][0] == with_it.sent[0][0]
    else:
        assert with_it.sent != without.sent
    assert losses(with_it.words, name) == []
    if cell.to:
        assert find(with_it.body, cell.to) != find(without.body, cell.to)
    if cell.how == "renamed" and name not in UNTOLD:
        told = [word for word in with_it.words if word.startswith(f"renamed:{name}=")]
        assert len(told) == 1
    given = {**COMPANIONS.get(name, {}), name: SAMPLES[name]}
    assert find_refusal(wire, given, strict=True) is None


@pytest.mark.parametrize("name", MEANINGLESS)
@pytest.mark.parametrize("wire", COLUMNS)
def test_what_asks_for_nothing_goes_without_a_word(wire: Wire, name: str) -> None:
    if not says(wire, name):
        return
    for value in MEANINGLESS[name]:
        fitted = fit(wire, {name: value}, strict=True)
        assert losses(fitted.words, name) == []


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("messages", "prompt")])
@pytest.mark.parametrize("wire", COLUMNS)
def test_null_is_absent(wire: Wire, name: str) -> None:
    if says(wire, name):
        with_it, without = fit_sample(wire, name, None, strict=True)
        assert with_it == without


@pytest.mark.parametrize("wire", COLUMNS)
def test_alternatives(wire: Wire) -> None:
    """A wire that knows no ``n`` is asked as often."""
    if not says(wire, "n"):
        return
    one, three = fit(wire, {}), fit(wire, {"n": 3}, strict=True)
    if wire == "openai" or not find_format(wire).FANS_OUT:
        assert [body["n"] for _, body in three.sent] == [3]
        return
    assert three.sent == one.sent * 3
    assert three.words == one.words
    refusal = find_refusal(wire, {"n": 17})
    assert refusal is not None
    assert (refusal.code, refusal.param) == ("invalid_request", "n")


@pytest.mark.parametrize("wire", TRANSLATED)
def test_what_nobody_knows_is_dropped_and_told(wire: Wire) -> None:
    fitted = fit(wire, {"vendor_extra": {"a": 1}})
    assert fitted.sent == fit(wire, {}).sent
    assert "dropped:vendor_extra" in fitted.words
    strict = find_refusal(wire, {"vendor_extra": 1}, strict=True)
    assert strict is not None
    assert (strict.status, strict.param) == (400, "vendor_extra")


def test_what_nobody_knows_is_carried_to_openais_wire() -> None:
    assert fit("openai", {"vendor_extra": {"a": 1}}, strict=True).body["vendor_extra"] == {"a": 1}


@pytest.mark.parametrize("wire", TRANSLATED)
def test_a_speakers_name_is_dropped_and_told(wire: Wire) -> None:
    named = [{"role": "user", "content": "Hi", "name": "Ada"}]
    fitted = fit(wire, {"messages": named})
    assert fitted.sent == fit(wire, {}).sent
    assert "dropped:messages.name" in fitted.words
    strict = find_refusal(wire, {"messages": named}, strict=True)
    assert strict is not None
    assert strict.param == "messages.name"
