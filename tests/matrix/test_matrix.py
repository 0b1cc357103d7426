"""Every fault of an upstream, in every dialect and at every place, as every client sees it.

Expected is what the mock says of the fault itself, and what the official SDKs are known to raise.
"""

from typing import Final

import pytest

from matrix.case import CLIENTS, WAITS, Case, Client, list_cases
from matrix.client import list_expected
from matrix.stage import Find, Outcome
from trunkline.chaos.verdict import MARGIN_S, is_complete, judge
from trunkline.mock import FAULTS

pytestmark = pytest.mark.slow
CASES = list(list_cases())
STATUSES: Final = {
    "context_length_exceeded": 400,
    "insufficient_quota": 429,
    "model_not_found": 404,
    "overloaded": 503,
    "rate_limit_exceeded": 429,
    "upstream_auth": 502,
    "upstream_error": 502,
    "upstream_rejected": 400,
    "upstream_timeout": 504,
}
"""By the contract; written down here, so that the gateway's own table is checked as well."""
FINISHES: Final = {"length": "length", "filtered": "content_filter"}
NAMED = pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])


def test_the_matrix_is_large_enough() -> None:
    assert len({case.fault.kind for case in CASES}) >= 30
    assert {case.stream for case in CASES} == {True, False}
    assert {"connect", "head", "before_content", "after_content", "end"} == {
        case.fault.place for case in CASES
    }


@NAMED
def test_the_bytes_on_the_wire_are_honest(case: Case, find_outcome: Find) -> None:
    outcome = find_outcome(case)
    verdict = judge(case.scenario, outcome.evidence)
    assert verdict.judgement != "wrong", (verdict, outcome.evidence.heard)
    heard = outcome.evidence.heard
    expected = find_expected(case, heard.text)
    if expected == "error before content":
        assert heard.status >= 400, heard
    elif expected == "error after content":
        assert heard.status == 200, heard
        assert heard.error is not None
        assert heard.text, "what came before the fault was kept back"
    elif expected != "either":
        assert is_complete(heard), heard


@NAMED
@pytest.mark.parametrize("client", CLIENTS[1:])
def test_the_sdks_tell_their_users(case: Case, client: Client, find_outcome: Find) -> None:
    outcome = find_outcome(case)
    got, served = outcome.got[client], outcome.served[client]
    assert outcome.elapsed_s[client] < WAITS.total_s + MARGIN_S, "a hang"
    expected: str = find_expected(case, got.text)
    if expected == "either":
        expected = "complete" if got.error is None else "error before content"
        expected = "error after content" if got.error is not None and got.text else expected
    if expected == "error before content":
        assert got.text == "", got
        status = getattr(got.error, "status_code", -1)
        assert isinstance(got.error, list_expected(client, status)), got
        assert status in list_statuses(case), got
    elif expected == "error after content":
        assert isinstance(got.error, list_expected(client, 0)), got
        assert got.text, "what came before the fault was kept back"
        assert served[-1].text.startswith(got.text), got
    else:
        assert got.error is None, got
        assert got.text == served[-1].text
        assert got.finish_reason == FINISHES.get(expected, "stop")


@NAMED
def test_the_ledger_has_one_right_entry_of_each(case: Case, find_outcome: Find) -> None:
    outcome = find_outcome(case)
    for client in CLIENTS:
        posting = outcome.entries.get(client)
        if posting is None:
            assert case.fault.kind == "status_404", f"no entry of {client}"
            continue
        entry = posting.entry
        assert (entry.attempts, len(posting.attempts)) == (1, 1)
        assert entry.status == ("complete" if is_whole(outcome, client) else "failed"), entry
        assert (entry.code == "") == (entry.status == "complete"), entry
        if entry.status == "failed":
            assert entry.code in {*FAULTS[case.fault.kind].codes, "upstream_timeout"}, entry
        served = outcome.served[client]
        told = served[-1].input_tokens if served else None
        if entry.status == "complete" and told is not None:
            assert entry.usage_source == "provider"
            assert (entry.input_tokens, entry.output_tokens) == (told, served[-1].output_tokens)
        elif entry.status == "complete":
            assert entry.usage_source in {"counted", "estimated"}
        else:
            assert entry.usage_source != "provider"


def find_expected(case: Case, text: str) -> str:
    """What the fault says of itself; with broken chunks, what came with them may be lost."""
    expected = case.fault.expect(stream=case.stream)
    if case.fault.kind == "bad_chunk" and expected == "error after content" and not text:
        return "error before content"
    return expected


def is_whole(outcome: Outcome, client: Client) -> bool:
    if client == "raw":
        return is_complete(outcome.evidence.heard)
    return outcome.got[client].error is None


def list_statuses(case: Case) -> set[int]:
    """The statuses that are right for a fault before content: of its codes, or its own 4xx."""
    codes = {*FAULTS[case.fault.kind].codes}
    right = {STATUSES[code] for code in codes}
    own = FAULTS[case.fault.kind].status
    return right | ({own} if 400 <= own < 500 and "upstream_rejected" in codes else set())
