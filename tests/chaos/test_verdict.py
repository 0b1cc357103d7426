"""The judge sees every way of being wrong, and calls nothing wrong that is right."""

from typing import Any

import msgspec
import pytest

from trunkline.call import Deadlines
from trunkline.chaos.heard import Heard
from trunkline.chaos.rehearsal import Line, Part
from trunkline.chaos.scenario import Scenario
from trunkline.chaos.verdict import Evidence, Verdict, judge, judge_all, sort_by
from trunkline.mock import Fault, Served
from trunkline.store.posting import AttemptRow, EntryRow, Posting

PARTS = (Part("one", "m"), Part("two", "m"))
LINE = Line("name", PARTS, {}, Deadlines(1, 1, 1, 4), 2)
ID = "req_1"
TEXT = "All of it."


def scenario(kind: str = "", place: str = "", **changed: Any) -> Scenario:
    fault = msgspec.convert({"kind": kind, "at": place}, Fault) if kind else None
    made = Scenario(7, LINE, fault, "all", stream=True, door="beta")
    return msgspec.structs.replace(made, **changed)


def told(**changed: Any) -> Served:
    whole = Served(number=1, text=TEXT, input_tokens=3, output_tokens=4, completed=True)
    whole.has_ended, whole.ended_at = True, 10.0
    return msgspec.structs.replace(whole, **changed)


def heard(**changed: Any) -> Heard:
    headers = {"x-request-id": ID, "content-type": "text/event-stream", "x-trunkline-attempts": "1"}
    whole = Heard(200, headers, TEXT, "stop", ended=True)
    return msgspec.structs.replace(whole, **changed)


def failed(code: str = "upstream_error", status: int = 502, **changed: Any) -> Heard:
    error = {"detail": "No.", "error": {"message": "No.", "code": code}, "request_id": ID}
    answer = Heard(status, {"x-request-id": ID}, error=error, ended=status != 200)
    return msgspec.structs.replace(answer, **changed)


def entry(
    status: str = "complete", code: str = "", source: str = "provider", **changed: Any
) -> Posting:
    count = ("", source, 3, 4, 0, 0, 0, 0, 0, 0)
    row = EntryRow(
        ID, 1, "a", "k", "m", "chat", True, status, code, "one/m", "stop", "", 1, source,
        *(3, 4, 0, 0, 0, 0, 0, 0, 0, None, 1),
    )  # fmt: skip
    attempt = AttemptRow(ID, 1, "one/m", status, code, *count, None, 1)
    row = msgspec.structs.replace(row, **changed)
    return Posting(row, (attempt,), ())


def check(case: Scenario, got: Heard, posting: Posting | None, *served: Served) -> Verdict:
    return judge(case, Evidence(got, 10.0, served, posting))


LATE = scenario("cut", "after_content")
EARLY = scenario("cut", "head")
CUT = told(fault="cut", at="after_content", text="All of", completed=False, input_tokens=None)
FAILED = entry("failed", "upstream_error", "none")


def test_what_is_right_is_not_called_wrong() -> None:
    assert check(scenario(), heard(), entry(), told()).judgement == "complete"
    late = failed(status=200, text="All of")
    assert check(LATE, late, FAILED, CUT).judgement == "failed honestly"
    gone = told(fault="cut", text="", input_tokens=None)
    assert check(EARLY, failed(), FAILED, gone).judgement == "failed honestly"
    counted = entry(source="counted")
    assert check(scenario(), heard(), counted, told(input_tokens=None)).judgement == "complete"


@pytest.mark.parametrize(
    ("case", "got", "posting", "served", "word"),
    [
        (LATE, heard(text="All of"), entry(source="counted"), CUT, "not whole"),
        (scenario(), heard(text="All of i"), entry(), told(), "2 characters were lost"),
        (scenario(), heard(text=TEXT + "."), entry(), told(), "1 characters too many"),
        (scenario(), heard(text="Other."), entry(), told(), "other characters"),
        (scenario(), heard(finish_reason=None), entry(), told(), "without a finish reason"),
        (scenario(), heard(done=1), entry(), told(), "marks of the end"),
        (scenario(stream=False), heard(), entry(), told(), "mistaken for each other"),
        (scenario(), heard(hung=True), entry(), told(), "no end after"),
        (scenario(), heard(elapsed_s=9), entry(), told(), "no end after"),
        (scenario(), heard(fault="odd"), entry(), told(), "breaks the rules"),
        (scenario("length_finish"), heard(), entry(), told(fault="x"), "instead of 'length'"),
        (scenario(), failed(), FAILED, told(), "failed though nothing was wrong"),
        (scenario("duplicate"), failed(), FAILED, told(fault="x"), "all that it needs"),
        (LATE, failed(status=200, text="All of", ended=True), FAILED, CUT, "as if it were whole"),
        (LATE, failed(status=200, text="Allof"), FAILED, CUT, "other characters"),
        (LATE, heard(text="All of", ended=False), FAILED, CUT, "cut without a word"),
        (LATE, failed(status=200, text="All", done=1), FAILED, CUT, "the mark of the end"),
        (EARLY, failed("internal_error", 500), entry("failed", "internal_error", "none"),
         told(fault="cut", text=""), "internal_error instead of"),
        (EARLY, failed(status=500), FAILED, told(fault="cut", text=""), "status 500 for"),
        (EARLY, failed("overloaded", 503), entry("failed", "overloaded", "none"),
         told(fault="cut", text=""), "503 without retry-after"),
        (EARLY, failed(error={"detail": "No."}), FAILED, told(), "without its body"),
        (EARLY, Heard(), None, told(fault="cut"), "no answer"),
        (scenario("cut", "head", aim="first"), failed(), FAILED, told(fault="cut", text=""),
         "another target is well"),
        (scenario(), heard(), None, told(), "no entry"),
        (scenario(), heard(), entry("failed", "upstream_error"), told(), "the ledger says failed"),
        (scenario(), heard(), entry(attempts=2), told(), "1 attempts"),
        (scenario(), heard(), entry(source="estimated"), told(), "instead of (3, 4)"),
        (scenario(), heard(), entry(), told(output_tokens=5), "instead of (3, 5)"),
        (scenario(), heard(), entry(), told(input_tokens=None), "though none was told"),
        (scenario(), heard(), entry(), told(has_ended=False), "outlived the call"),
        (scenario(), heard(), entry(), told(ended_at=12.0), "outlived the call"),
    ],
)  # fmt: skip
def test_every_way_of_being_wrong_is_seen(
    case: Scenario, got: Heard, posting: Posting | None, served: Served, word: str
) -> None:
    verdict = check(case, got, posting, served)
    assert verdict.judgement == "wrong"
    assert any(word in fault for fault in verdict.faults), verdict


def test_an_answer_that_nobody_gave_is_wrong() -> None:
    assert "no upstream gave" in check(scenario(), heard(), entry()).faults[0]


def test_an_outage_must_open_the_circuit() -> None:
    case = scenario("status_500", "head", aim="first", stream=False, calls=4)
    answer = heard(headers={"x-request-id": ID, "x-trunkline-attempts": "1"})
    asked = told(fault="status_500", status=500, text="", input_tokens=None)
    moved = Evidence(answer, 10.0, (asked, told()), entry(attempts=1))
    spared = Evidence(answer, 10.0, (told(),), entry())
    right = judge_all(case, [moved, moved, spared, spared])
    assert (right.judgement, right.what) == ("complete", "4 x 200 stop")
    wrong = judge_all(case, [moved, moved, spared, moved])
    assert wrong.judgement == "wrong"
    assert "asked 1 times after" in wrong.faults[0]
    hung = Evidence(heard(hung=True), 10.0, (told(),), entry())
    assert judge_all(case, [moved, hung, spared, spared]).faults[0].startswith("call 2: no end")


def test_the_counts_name_every_judgement() -> None:
    verdicts = [Verdict("wrong", ""), Verdict("complete", ""), Verdict("wrong", "")]
    assert sort_by(verdicts) == {"complete": 1, "failed honestly": 0, "wrong": 2}
