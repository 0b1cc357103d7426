"""Planted keys, prompts and answers never come out where they do not belong."""

import json
import logging
from pathlib import Path

import httpx
import pytest

from gateway import Door, run_gateway, run_upstream, talking
from scripted import Script, answering, sending

KEY_CANARY = "tl-canary-of-a-caller"
PROMPT_CANARY = "prompt-canary-7261"
ANSWER_CANARY = "answer-canary-1894"
UPSTREAM_CANARY = "sk-upstream-canary"

SCRIPTS: dict[str, Script] = {
    "answers": talking([ANSWER_CANARY]),
    "refuses": answering(
        json.dumps({"error": {"message": f"{PROMPT_CANARY} {UPSTREAM_CANARY}"}}).encode(), 400
    ),
    "refuses-the-key": answering(
        json.dumps({"error": {"message": f"bad key {UPSTREAM_CANARY}"}}).encode(), 401
    ),
    "fails": answering(f"<html>{ANSWER_CANARY} {UPSTREAM_CANARY}</html>".encode(), 500),
    "talks-nonsense": answering(f'{{"a": "{ANSWER_CANARY}"'.encode()),
    "is-no-http": sending(f"{ANSWER_CANARY}\r\n\r\n".encode()),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_canaries_stay_where_they_belong(
    tmp_path: Path, door: Door, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    calls: list[tuple[str, dict[str, object]]] = [
        ("/v4/completions", {"model": "model", "prompt": PROMPT_CANARY}),
        ("/v5/chat/completions", {"model": "model", "messages": [{"content": PROMPT_CANARY}]}),
        ("/v1/completions", {"model": "model", "prompt": PROMPT_CANARY}),
        ("/v4/completions", {"model": "model", "prompt": [PROMPT_CANARY]}),
        ("/v4/completions", {"model": "nobody", "prompt": PROMPT_CANARY}),
    ]
    seen: list[str] = []
    with (
        run_upstream(SCRIPTS[name]) as upstream,
        run_gateway(tmp_path, upstream.port, door=door) as gateway,
    ):
        for path, body in calls:
            for headers in (gateway.headers, {"x-api-key": KEY_CANARY}):
                for stream in (False, True):
                    asked = body | {"stream": stream}
                    response = httpx.post(gateway.url + path, json=asked, headers=headers)
                    whole = response.text + str(response.headers)
                    assert UPSTREAM_CANARY not in whole
                    assert KEY_CANARY not in whole
                    if response.status_code != 200:
                        assert PROMPT_CANARY not in whole
                        assert ANSWER_CANARY not in whole
                    seen.append(whole)
    assert any(ANSWER_CANARY in whole for whole in seen) == (name == "answers")
    written = [caplog.text]
    written += [
        path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()
    ]
    for text in written:
        for canary in (KEY_CANARY, PROMPT_CANARY, ANSWER_CANARY, UPSTREAM_CANARY):
            assert canary not in text
