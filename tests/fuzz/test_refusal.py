"""What fuzzing once broke: each of these requests has its plain answer."""

import json
import time
from typing import Final

import httpx
import pytest

from fuzz.served import Served
from fuzz.wire import JSON, check_answer, exchange, write_request

TEXT: Final = b'{"model":"model","prompt":"hi"}'


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_an_offer_to_upgrade_is_ignored(served: Served, protocol: str) -> None:
    headers = (JSON, "connection: Upgrade, HTTP2-Settings", f"upgrade: {protocol}")
    answer = exchange(served, write_request("/v4/completions", TEXT, headers))
    check_answer(answer)
    assert answer.status == 200


def test_a_long_model_name_does_not_make_long_headers(served: Served) -> None:
    body = json.dumps({"model": "lab/" + "x" * 70_000, "prompt": "hi"}).encode()
    answer = exchange(served, write_request("/v4/completions", body))
    check_answer(answer)
    assert all(len(value) < 1000 for value in answer.headers.values())


def test_a_wrong_value_is_not_sent_back_whole(served: Served) -> None:
    parameters = {"reasoning_effort": "x" * 5_000_000}
    fields = {"model": "model", "prompt": "hi", "model_parameters": parameters}
    answer = exchange(served, write_request("/v4/completions", json.dumps(fields).encode()))
    check_answer(answer)
    assert answer.status == 422
    assert len(answer.body) < 2000


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v4/completions", {"prompt": "hi", "images": [{"image_url": "x"}] * 800_000}),
        ("/v1/chat/completions", {"messages": [{}] * 4_000_000}),
    ],
    ids=["images", "messages"],
)
def test_long_lists_do_not_hold_up_others(
    served: Served, path: str, fields: dict[str, object]
) -> None:
    body = json.dumps({"model": "model", **fields}, separators=(",", ":")).encode()
    began_s = time.monotonic()
    answer = exchange(served, write_request(path, body))
    check_answer(answer)
    assert answer.status == 422
    assert time.monotonic() - began_s < 5  # 20 MB are read in one go
    assert httpx.get(f"{served.url}/livez").status_code == 200
