"""A call's way through the targets: another one first, the same again only within its budget."""

import pytest

from trunkline.call import Deadlines
from trunkline.errors import Code, GatewayError
from trunkline.routing.retry import BURST, Verdict, judge
from trunkline.routing.rule import CircuitRule, RoutingRule
from trunkline.routing.standing import LIMIT, Standings
from trunkline.routing.table import Columns, Route, Target
from trunkline.routing.trail import Trail

FAILING: list[Code] = ["upstream_error"] * 3
RULE = CircuitRule(failures=2, open_s=10)
A, B = Target("p", "a"), Target("p", "b")
LONG = Target("p", "long", on=("context",))
LAX = Target("p", "lax", on=("filter", "context"))


def make_trail(
    standings: Standings, *targets: Target, rule: RoutingRule | None = None, now_s: float = 0
) -> Trail:
    route = Route("model", targets, Columns(), Deadlines(), rule=rule or RoutingRule())
    return Trail(route, standings, lambda: 0.5, now_s)


def judge_code(code: Code) -> Verdict:
    return judge(GatewayError(code, "m"))


def walk(
    trail: Trail, standings: Standings, *codes: Code, left_s: float = 60
) -> list[tuple[str, float]]:
    """The targets tried and the waits before, as every attempt fails with the next code."""
    now_s = 0.0
    target, _ = trail.begin(now_s)
    way = [(target.model, 0.0)]
    for code in codes:
        verdict = judge_code(code)
        standing = standings.find(target)
        standing.note_failure(code, verdict, now_s, probe=standing.enter())
        trail.note(standing, code, verdict)
        found = trail.find_next(verdict, now_s, left_s)
        if found is None:
            break
        (target, _), wait_s = found
        now_s += wait_s
        way.append((target.model, wait_s))
    return way


def test_another_target_comes_before_the_same_again() -> None:
    standings = Standings(CircuitRule())
    way = walk(make_trail(standings, A, B), standings, *FAILING * 3)
    assert way == [("a", 0), ("b", 0), ("a", pytest.approx(0.15))]


def test_an_engine_that_is_too_slow_is_not_given_more_to_do() -> None:
    standings = Standings(CircuitRule())
    engine = Target("local", "m", upstream="local/m")
    assert walk(make_trail(standings, engine), standings, "upstream_timeout") == [("m", 0)]
    crashed = walk(make_trail(standings, engine), standings, "upstream_error")
    assert [model for model, _ in crashed] == ["m", "m"]


def test_a_single_target_is_asked_again_after_longer_and_longer_waits() -> None:
    standings = Standings(CircuitRule())
    way = walk(make_trail(standings, A), standings, *FAILING * 3)
    assert way == [("a", 0), ("a", pytest.approx(0.15)), ("a", pytest.approx(0.3))]


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_no_more_further_attempts_than_the_operator_allows(retries: int) -> None:
    standings = Standings(CircuitRule(failures=99))
    trail = make_trail(standings, A, B, rule=RoutingRule(retries=retries))
    assert len(walk(trail, standings, *FAILING * 3)) == retries + 1


def test_what_a_further_attempt_cannot_mend_is_final() -> None:
    standings = Standings(RULE)
    codes: list[Code] = ["invalid_request", "upstream_rejected", "context_length_exceeded"]
    for code in codes:
        assert walk(make_trail(standings, A, B), standings, code) == [("a", 0)]


def test_a_target_that_cannot_serve_is_not_asked_again() -> None:
    standings = Standings(RULE)
    assert walk(make_trail(standings, A), standings, "upstream_auth") == [("a", 0)]
    # It goes last from now on.
    way = walk(make_trail(standings, A, B), standings, "upstream_auth")
    assert [model for model, _ in way] == ["b", "a"]


def test_a_call_without_time_is_not_tried_again() -> None:
    standings = Standings(RULE)
    assert walk(make_trail(standings, A, B), standings, "upstream_error", left_s=0.01) == [("a", 0)]
    short = walk(make_trail(standings, B), standings, "rate_limit_exceeded", left_s=0.9)
    assert short == [("b", 0)], "it wants to be left alone for a second"


def test_open_circuits_are_left_out_and_probed_in_their_place() -> None:
    standings = Standings(RULE)
    walk(make_trail(standings, A), standings, *FAILING[:2])
    trail = make_trail(standings, A, B)
    assert trail.begin(5)[0] is B
    assert "p/a=open" in trail.describe(5)
    probing = make_trail(standings, A, B, now_s=11)
    target, standing = probing.begin(11)
    assert target is A
    assert standing.enter()
    assert make_trail(standings, A, B, now_s=11).begin(11)[0] is B, "one probe is out"


def test_when_all_are_open_the_client_is_told_when_to_come_back() -> None:
    standings = Standings(RULE)
    walk(make_trail(standings, A, B), standings, *FAILING)
    walk(make_trail(standings, B), standings, "upstream_error")
    with pytest.raises(GatewayError) as caught:
        make_trail(standings, A, B, now_s=4).begin(4)
    assert caught.value.code == "overloaded"
    assert caught.value.retry_after_s == pytest.approx(6, abs=0.5)
    assert not caught.value.cause


def test_kept_targets_are_tried_only_for_what_they_are_kept_for() -> None:
    standings = Standings(RULE)
    targets = (A, B, LONG, LAX)
    kept = walk(make_trail(standings, *targets), standings, "context_length_exceeded")
    assert kept == [("a", 0), ("long", 0)]
    both: list[Code] = ["context_length_exceeded"] * 2
    way = walk(make_trail(standings, *targets), standings, *both)
    assert way == [("a", 0), ("long", 0), ("lax", 0)]
    plain = walk(make_trail(standings, *targets), standings, *FAILING * 3)
    assert {model for model, _ in plain} == {"a", "b"}


def test_a_content_filters_refusal_goes_to_who_is_kept_for_it() -> None:
    standings = Standings(RULE)
    trail = make_trail(standings, A, LONG, LAX)
    _, standing = trail.begin(0)
    refused = GatewayError("upstream_rejected", "m")
    refused.cause = "filter"
    trail.note(standing, refused.code, judge(refused))
    found = trail.find_next(judge(refused), 0, 60)
    assert found is not None
    assert found[0][0] is LAX


def test_the_budget_bounds_repeats_and_not_the_way_to_another_target() -> None:
    standings = Standings(CircuitRule(failures=10_000))
    rule = RoutingRule(retry_share=0)
    repeats = others = 0
    for _ in range(50):
        way = walk(make_trail(standings, A, B, rule=rule), standings, *FAILING[:2])
        others += len({model for model, _ in way}) == 2
        repeats += len(way) == 3
    assert others == 50
    assert BURST <= repeats <= BURST + 1
    assert standings.find(A).retries.denied == 50 - repeats


def test_strangers_do_not_fill_the_memory() -> None:
    standings = Standings(RULE)
    standings.add(A, RULE)
    known, bad = standings.find(A), standings.find(B)
    bad.note_failure("upstream_error", judge_code("upstream_error"), 0, probe=bad.enter())
    early = standings.find(LONG)
    for number in range(LIMIT):
        standings.find(Target("p", str(number)))
    assert standings.find(A) is known
    assert standings.find(B) is bad
    assert standings.find(LONG) is not early


def test_only_strangers_that_answered_are_shown() -> None:
    standings = Standings(RULE)
    standings.add(A, RULE)
    real = standings.find(B)
    standings.find(LONG)
    real.note_success(0.1, 1, probe=real.enter())
    assert [each.label for each in standings] == ["p/a", "p/b"]


def test_beside_a_slow_target_only_one_in_good_standing_is_asked() -> None:
    standings = Standings(RULE)
    trail = make_trail(standings, A, B, LONG)
    slow = standings.find(A)
    assert trail.find_beside(slow, 0) == (B, standings.find(B))
    assert trail.find_beside(standings.find(B), 0) == (A, slow)
    standings.find(B).aside_until_s = 5
    assert trail.find_beside(slow, 4) is None
    assert trail.find_beside(slow, 5) is not None
    standings.find(B).aside_until_s = 0
    walk(make_trail(standings, B), standings, *FAILING[:2])
    assert trail.find_beside(slow, 11) is None, "a probe is no hedge"
    assert make_trail(standings, A, LONG).find_beside(slow, 0) is None
