"""Streams that break after their first content, and are gone on with by another target."""

from pathlib import Path
from typing import Any

import openai
import pytest
import scale_gp
import scale_gp_beta

from api.resuming import BREAKS, NATIVE, OPENAI, PATHS, TEXT, V5, WIRES, breaking, place
from books import read_ledger, read_only
from gateway import ACCOUNT, KEY
from trunkline.mock import FAULTS, Asked, Behaviour, Fault
from trunkline.mock.behaviour import Dialect


@pytest.mark.parametrize("kind", BREAKS)
@pytest.mark.parametrize("wire", WIRES)
def test_whatever_breaks_a_stream_another_target_goes_on(
    tmp_path: Path, kind: str, wire: Dialect
) -> None:
    if not FAULTS[kind].applies("chat", wire, stream=True):
        return
    fault = Fault(kind, at="after_content", after_chunks=3)
    is_silent = kind == "hang"
    with place(tmp_path, breaking(fault), idle_s=1.5 if is_silent else 10) as at:
        for other in WIRES:
            for path in PATHS if other == "openai" or not is_silent else ():
                said = len(at.asked)
                answer = at.ask(path, f"{wire}-{other}")
                assert answer.is_whole, answer.data
                assert answer.text == TEXT
                assert answer.reasons == ["stop"]
                assert answer.roles == (path != NATIVE)
                assert answer.resumed == [1]
                assert answer.is_done == (path == OPENAI)
                first, second = at.asked[said:]
                assert second.said == second.said.rstrip() != ""
                assert not first.said
                heads = {
                    (each.get("id"), each.get("model"), each.get("created"))
                    for each in answer.chunks
                }
                assert len(heads) == 1


@pytest.mark.parametrize("door", ["direct", "asgi"])
def test_no_byte_is_lost_or_doubled_wherever_it_breaks(tmp_path: Path, door: Any) -> None:
    state = {"after": 1}

    def plan(asked: Asked) -> Behaviour:
        fault = Fault("cut", at="after_content", after_chunks=state["after"])
        return Behaviour(text=TEXT, chunks=len(TEXT), fault=None if asked.said else fault)

    with place(tmp_path, plan, door=door) as at:
        for path, model in ((NATIVE, "openai-anthropic"), (OPENAI, "anthropic-openai")):
            for after in range(1, len(TEXT)):
                state["after"] = after
                answer = at.ask(path, model)
                assert (answer.text, answer.reasons) == (TEXT, ["stop"]), after
                assert at.asked[-1].said == TEXT[:after].rstrip()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("wire", WIRES)
def test_the_client_and_the_ledger_are_told(tmp_path: Path, path: str, wire: Dialect) -> None:
    fault = Fault("cut", at="after_content", after_chunks=3)
    with place(tmp_path, breaking(fault)) as at:
        limit = {"max_tokens": 50}
        more = {"model_parameters": limit} if path == NATIVE else limit
        answer = at.ask(path, f"{wire}-openai", **more)
        assert at.asked[0].max_tokens == 50
        assert at.asked[1].max_tokens == 47
    entry, (broke, went_on) = read_only(at.gateway.data_dir)
    assert (entry.status, entry.code, entry.attempts) == ("complete", "", 2)
    assert "resumed:vllm/m" in entry.changes.split(",")
    assert (broke.status, broke.code) == ("failed", "upstream_error")
    # Anthropic tells the output at its end; what it says at the start is less than what came.
    assert broke.output_tokens == 3
    served = at.mock.served[1]
    assert (went_on.target, went_on.status, went_on.usage_source) == (
        "vllm/m",
        "complete",
        "provider",
    )
    assert (went_on.input_tokens, went_on.output_tokens) == (
        served.input_tokens,
        served.output_tokens,
    )
    made = 3 + went_on.output_tokens
    heard = broke.input_tokens + went_on.input_tokens
    assert answer.usage == (heard, made, heard + made)
    assert entry.input_tokens == heard
    assert entry.output_tokens == broke.output_tokens + went_on.output_tokens
    assert entry.first_token_us is not None
    assert went_on.first_token_us is not None
    assert entry.first_token_us <= entry.queue_us + broke.total_us


def test_the_only_target_is_asked_again(tmp_path: Path) -> None:
    fault = Fault("reset", at="after_content", after_chunks=2)
    more = (
        '\n[models.lone]\ntargets = [{ provider = "broken", model = "m" }]\n'
        "[models.lone.routing]\nresume = true\n"
    )
    with place(tmp_path, breaking(fault), own="continue_final_message", more=more) as at:
        answer = at.ask(OPENAI, "lone")
    assert (answer.text, answer.reasons, answer.is_whole) == (TEXT, ["stop"], True)
    assert [each.body.get("continue_final_message") for each in at.asked] == [None, True]


@pytest.mark.parametrize("path", [NATIVE, V5])
def test_a_continuation_that_breaks_is_gone_on_with_once_more(tmp_path: Path, path: str) -> None:
    def plan(asked: Asked) -> Behaviour:
        fault = Fault("cut", at="after_content", after_chunks=2)
        return Behaviour(text=TEXT, fault=None if asked.number == 3 else fault)

    with place(tmp_path, plan) as at:
        answer = at.ask(path, "anthropic-openai")
    assert (answer.text, answer.reasons, answer.resumed) == (TEXT, ["stop"], [2])
    entry, attempts = read_only(at.gateway.data_dir)
    assert [each.target for each in attempts] == [
        "broken-anthropic/claude-sonnet-4-5",
        "vllm/m",
        "broken-anthropic/claude-sonnet-4-5",
    ]
    assert answer.usage[0] == entry.input_tokens
    assert answer.usage[1] == 2 + 2 + attempts[2].output_tokens
    words = entry.changes.split(",")
    assert "resumed:vllm/m" in words
    assert "resumed:broken-anthropic/claude-sonnet-4-5" in words


def test_a_raw_prompt_is_made_longer(tmp_path: Path) -> None:
    whole = "Say: One  two three \u00e9 four."

    def plan(asked: Asked) -> Behaviour:
        if asked.prompt == "Say: ":
            text, fault = whole[5:], Fault("cut", at="after_content", after_chunks=4)
            return Behaviour(text=text, chunks=len(text), fault=fault)
        return Behaviour(text=whole.removeprefix(asked.prompt))

    more = (
        '\n[models.base]\ntargets = [{ provider = "broken", model = "m" }, '
        '{ provider = "vllm", model = "m" }]\nprompt_mode = "raw"\n'
        "[models.base.routing]\nresume = true\n"
    )
    with place(tmp_path, plan, more=more) as at:
        answer = at.ask(NATIVE, "base", prompt="Say: ")
    assert (answer.text, answer.reasons, answer.resumed) == (whole[5:], ["stop"], [1])
    assert at.asked[1].prompt == "Say: One "
    assert at.asked[1].max_tokens == 96


def test_the_official_clients_see_one_stream(tmp_path: Path) -> None:
    fault = Fault("cut", at="after_content", after_chunks=3)
    asked: Any = [{"role": "user", "content": "Hi"}]
    strict: Any = {"_strict_response_validation": True}
    with place(tmp_path, breaking(fault)) as at:
        url = at.gateway.url
        chats: list[Any] = [
            openai.OpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0, **strict),
            scale_gp_beta.SGPClient(
                api_key=KEY, account_id=ACCOUNT, base_url=url, max_retries=0, **strict
            ),
        ]
        for client in chats:
            with client:
                stream = client.chat.completions.create(
                    model="openai-anthropic", messages=asked, stream=True
                )
                chunks = list(stream)
            assert "".join(each.choices[0].delta.content or "" for each in chunks) == TEXT
            assert [each.choices[0].finish_reason for each in chunks].count("stop") == 1
            assert chunks[-1].model_extra["trunkline"] == {"resumed": 1}
        v4: Any = scale_gp.SGPClient(
            api_key=KEY, account_id=ACCOUNT, base_url=url, max_retries=0, **strict
        )
        with v4 as client:
            natives = list(
                client.completions.create(model="anthropic-openai", prompt="Hi", stream=True)
            )
        assert "".join(each.completion["text"] for each in natives) == TEXT
        assert natives[-1].completion["response_metadata"]["resumed"] == 1
        assert natives[-1].finish_reason == "stop"


@pytest.mark.parametrize("path", [NATIVE, OPENAI])
def test_a_race_may_come_before_it(tmp_path: Path, path: str) -> None:
    """The winner of two breaks; who goes on is one of the two."""

    def plan(asked: Asked) -> Behaviour:
        if asked.said:
            return Behaviour(text=TEXT)
        late = asked.number > 20 and asked.dialect == "anthropic"
        fault = Fault("cut", at="after_content", after_chunks=3) if asked.number > 20 else None
        return Behaviour(text=TEXT, fault=fault, delay_s=0.3 if late else 0)

    routing = "hedge_share = 1"
    with place(tmp_path, plan, routing=routing) as at:
        for _ in range(20):
            assert at.ask(path, "anthropic-openai").text == TEXT
        answer = at.ask(path, "anthropic-openai")
        said = [each.said for each in at.asked[20:]]
    assert (answer.text, answer.reasons, answer.is_whole) == (TEXT, ["stop"], True)
    assert [bool(each) for each in said] == [False, False, True]
    attempts = read_ledger(at.gateway.data_dir)[-1].attempts
    assert sorted(each.status for each in attempts) == ["complete", "failed", "left"]
