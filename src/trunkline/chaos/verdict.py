"""Judges a scenario: complete, failed honestly, or wrong. Pure.

What is right follows from the upstream's own books (``Served``) and from what the kind of fault
says of itself, never from what the gateway says it did.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from trunkline.chaos.heard import Heard
from trunkline.chaos.scenario import Scenario
from trunkline.errors import KINDS, Kind
from trunkline.mock import FAULTS, Served
from trunkline.store.posting import Posting

Judgement = Literal["complete", "failed honestly", "wrong"]
MARGIN_S: Final = 2.0
"""How much longer than its total deadline a call may take on a busy machine."""
CLOSE_S: Final = 1.0
"""How long after a call its connection to an upstream may be busy with it."""
_WHOLE: Final = frozenset({"complete", "length", "filtered", "either"})
_FINISHES: Final = {"length": "length", "filtered": "content_filter"}
_BY_CODE: Final[dict[str, Kind]] = {str(code): kind for code, kind in KINDS.items()}


class Verdict(msgspec.Struct, frozen=True):
    """A judgement, and what is wrong; ``what`` says shortly what came."""

    judgement: Judgement
    what: str
    faults: tuple[str, ...] = ()


class Evidence(msgspec.Struct, frozen=True):
    """All that is known of one scenario after it was played.

    Args:
        heard: what the client heard.
        ended_at_s: when it had, by the monotonic clock.
        served: what the upstreams did about it, in order.
        posting: the ledger's entry; None where it has none.
    """

    heard: Heard
    ended_at_s: float
    served: tuple[Served, ...]
    posting: Posting | None


def judge(scenario: Scenario, evidence: Evidence) -> Verdict:
    """Look at one scenario from every side."""
    heard = evidence.heard
    last = _find_answering(evidence)
    limit_s = scenario.line.deadlines.total_s + MARGIN_S
    faults = [f"the client heard what breaks the rules: {heard.fault}"] if heard.fault else []
    if heard.hung or heard.elapsed_s > limit_s:
        faults.append(f"no end after {heard.elapsed_s:.1f} s, {limit_s:.1f} s are the most")
    elif is_complete(heard):
        faults += _check_complete(scenario, evidence, last)
    else:
        faults += _check_failure(scenario, heard, last)
    faults += _check_connections(evidence)
    faults += _check_ledger(evidence)
    what = _describe(heard)
    if faults:
        return Verdict("wrong", what, tuple(faults))
    return Verdict("complete" if is_complete(heard) else "failed honestly", what)


def judge_all(scenario: Scenario, evidences: Sequence[Evidence]) -> Verdict:
    """Look at all calls of one scenario; after an outage's first half nobody may ask in vain."""
    verdicts = [judge(scenario, evidence) for evidence in evidences]
    if len(verdicts) == 1:
        return verdicts[0]
    faults = [
        f"call {number}: {fault}"
        for number, verdict in enumerate(verdicts, 1)
        for fault in verdict.faults
    ]
    late = evidences[-(len(evidences) // 4) :]
    asked = sum(bool(served.fault) for evidence in late for served in evidence.served)
    if asked:
        faults.append(f"the target that fails was asked {asked} times after it should be left")
    counts = Counter(verdict.what for verdict in verdicts)
    what = ", ".join(f"{count} x {words}" for words, count in counts.items())
    order: tuple[Judgement, ...] = ("wrong", "failed honestly", "complete")
    worst = min((verdict.judgement for verdict in verdicts), key=order.index)
    return Verdict("wrong" if faults else worst, what, tuple(faults))


def is_complete(heard: Heard) -> bool:
    """Whether a client would take it for a whole answer."""
    return heard.status == 200 and heard.ended and heard.error is None


def _describe(heard: Heard) -> str:
    if is_complete(heard):
        return f"200 {heard.finish_reason}"
    if heard.status == 200 and heard.error is not None:
        return f"200, then {heard.code}"
    return f"{heard.status} {heard.code}".strip()


def _find_answering(evidence: Evidence) -> Served | None:
    """What the target did that the gateway names; else what was done last."""
    target = evidence.heard.headers.get("x-trunkline-target", "")
    named = [served for served in evidence.served if target.endswith(f"/{served.model}")]
    return next(reversed(named or evidence.served), None)


def _check_complete(scenario: Scenario, evidence: Evidence, last: Served | None) -> list[str]:
    faults, heard = [], evidence.heard
    if last is None:
        return ["an answer that no upstream gave"]
    expected = _find_expected(scenario, last)
    if expected not in _WHOLE:
        faults.append("an answer that was not whole was shown as complete")
    texts = [last.text]
    if scenario.line.resumes:  # what came before the break, and what the other target added
        texts += [served.text + last.text for served in evidence.served if served is not last]
    if heard.text not in texts:
        faults.append(f"{_compare(heard.text, last.text)} in an answer shown as complete")
    if not heard.finish_reason:
        faults.append("an answer without a finish reason was shown as complete")
    wanted = _FINISHES.get(expected)
    if wanted is not None and heard.finish_reason != wanted:
        faults.append(f"finish reason '{heard.finish_reason}' instead of '{wanted}'")
    marks = 1 if heard.is_stream and scenario.door == "openai" else 0
    if heard.done != marks:
        faults.append(f"{heard.done} marks of the end instead of {marks}")
    if heard.is_stream != scenario.stream:
        faults.append("a stream and a whole answer were mistaken for each other")
    return faults


def _find_expected(scenario: Scenario, last: Served) -> str:
    if scenario.fault is None or not last.fault:
        return "complete"
    return scenario.fault.expect(stream=scenario.stream)


def _compare(text: str, sent: str) -> str:
    if sent.startswith(text):
        return f"{len(sent) - len(text)} characters were lost"
    if text.startswith(sent):
        return f"{len(text) - len(sent)} characters too many"
    return "other characters than were sent"


def _check_failure(scenario: Scenario, heard: Heard, last: Served | None) -> list[str]:
    if not heard.status:
        return ["no answer"]
    kind = _BY_CODE.get(heard.code)
    if heard.error is None or kind is None:
        return ["cut without a word"] if heard.status == 200 else ["a failure without its body"]
    faults = _check_body(heard)
    if heard.status == 200:
        faults += _check_late(heard, last)
    elif heard.status != kind.status and not 400 <= heard.status < 500:
        faults.append(f"status {heard.status} for {heard.code}")
    if kind.status == 503 and heard.status != 200 and "retry-after" not in heard.headers:
        faults.append("503 without retry-after")
    faults += _check_cause(scenario, heard, last, retryable=kind.retryable)
    return faults


def _check_body(heard: Heard) -> list[str]:
    """The one shape that both worlds understand."""
    error = heard.error or {}
    inner = error.get("error")
    if not isinstance(inner, dict) or not inner.get("message"):
        return ["a failure without a message"]
    if not isinstance(error.get("detail"), str) or error.get("request_id") != heard.call_id:
        return ["a failure without its detail or its request id"]
    return []


def _check_late(heard: Heard, last: Served | None) -> list[str]:
    """A failure in a stream: cut behind the error, and nothing false before it."""
    faults = []
    if heard.ended:
        faults.append("a failed stream was ended as if it were whole")
    if heard.done:
        faults.append("a failed stream has the mark of the end")
    if not (last.text if last else "").startswith(heard.text):
        faults.append("other characters than were sent before the failure")
    return faults


def _check_cause(
    scenario: Scenario, heard: Heard, last: Served | None, *, retryable: bool
) -> list[str]:
    """Whether there was a reason to fail, and whether it is the one that is told."""
    fault = scenario.fault
    if fault is None:
        return [f"failed though nothing was wrong: {heard.code}"]
    expected = fault.expect(stream=scenario.stream)
    faults = []
    if expected in {"complete", "length", "filtered"}:
        faults.append(f"failed though all that it needs was sent: {heard.code}")
    is_helped = scenario.has_spare or (scenario.has_help and retryable)
    if is_helped and not heard.text and expected == "error before content":
        faults.append("failed though another target is well")
    codes = (*FAULTS[fault.kind].codes, "overloaded", "upstream_timeout")
    if heard.code not in codes and (last is None or last.fault):
        faults.append(f"{heard.code} instead of {' or '.join(FAULTS[fault.kind].codes)}")
    return faults


def _check_connections(evidence: Evidence) -> list[str]:
    end_s = evidence.ended_at_s + CLOSE_S
    late = [
        served
        for served in evidence.served
        if not served.has_ended or (served.ended_at or served.began_at) > end_s
    ]
    return ["a connection to an upstream outlived the call"] if late else []


def _check_ledger(evidence: Evidence) -> list[str]:
    heard, posting = evidence.heard, evidence.posting
    if not heard.call_id:
        return [] if heard.hung else ["an answer without a request id"]
    if posting is None:
        return ["the ledger has no entry"]
    entry = posting.entry
    wanted = {"complete"} if is_complete(heard) else {"failed", "refused"}
    faults = []
    if entry.status not in wanted or entry.code != heard.code:
        faults.append(f"the ledger says {entry.status} {entry.code}".rstrip())
    if entry.attempts != len(posting.attempts) or (evidence.served and not entry.attempts):
        faults.append(f"the ledger has {len(posting.attempts)} attempts")
    told = heard.headers.get("x-trunkline-attempts")
    if told and heard.status == 200 and is_complete(heard) and int(told) != entry.attempts:
        faults.append(f"the ledger has {entry.attempts} attempts, the client was told {told}")
    answering = _find_answering(evidence)
    if is_complete(heard) and posting.attempts and answering is not None:
        faults += _check_usage(posting, answering)
    return faults


def _check_usage(posting: Posting, last: Served) -> list[str]:
    attempt = next(
        (each for each in posting.attempts if each.target.endswith(f"/{last.model}")),
        posting.attempts[-1],
    )
    if last.input_tokens is None or last.output_tokens is None:
        right = attempt.usage_source in {"counted", "estimated"}
        return [] if right else [f"usage is '{attempt.usage_source}' though none was told"]
    counted = attempt.input_tokens, attempt.output_tokens
    if attempt.usage_source != "provider" or counted != (last.input_tokens, last.output_tokens):
        told = last.input_tokens, last.output_tokens
        return [f"the ledger has {counted} tokens ({attempt.usage_source}) instead of {told}"]
    return []


def sort_by(verdicts: Sequence[Verdict]) -> dict[Judgement, int]:
    """How many there are of each."""
    counts: dict[Judgement, int] = {"complete": 0, "failed honestly": 0, "wrong": 0}
    for verdict in verdicts:
        counts[verdict.judgement] += 1
    return counts
