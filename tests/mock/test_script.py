import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from mocking import SAID, ask, hear, run_mock
from trunkline.errors import GatewayError
from trunkline.mock import Asked, MockServer
from trunkline.mock.connection import Request
from trunkline.mock.control import answer_control
from trunkline.mock.script import Rule, Script, make_plan, read_script
from trunkline.toml import FileError


def asked(model: str = "m", **more: Any) -> Asked:
    given: dict[str, Any] = {"dialect": "openai", "operation": "chat", "path": "/v1/x"} | more
    return Asked(number=1, model=model, **given)


def hits(rule: Rule, count: int, seed: int = 0) -> list[int]:
    plan = make_plan(Script(rules=[rule]), seed)
    return [number for number in range(1, count + 1) if plan(asked()).fault]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "script.toml"
    path.write_text(text)
    return path


def test_the_first_rule_that_fits_counts(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
seed = 5
[[rules]]
model = "gpt-*"
stream = true
fault = "cut:at=after_content,after=2"
[[rules]]
dialect = "anthropic"
text = "hello"
usage = [3, 1]
tool = "weather"
""",
    )
    script = read_script(path)
    plan = make_plan(script)
    assert script.seed == 5
    fault = plan(asked("gpt-9", stream=True)).fault
    assert fault is not None
    assert (fault.kind, fault.after_chunks) == ("cut", 2)
    assert plan(asked("gpt-9")).fault is None
    told = plan(asked(dialect="anthropic"))
    assert (told.text, told.usage, told.tool and told.tool.name) == ("hello", (3, 1), "weather")
    assert plan(asked("other")).text is None
    by_path = make_plan(Script(rules=[Rule(path="*/x", operation="chat", fault="html")]))
    assert by_path(asked()).fault is not None
    assert by_path(asked(path="/v1/y")).fault is None


def test_which_of_the_requests_that_fit() -> None:
    assert hits(Rule(fault="html", first=2), 5) == [1, 2]
    assert hits(Rule(fault="html", every=2), 5) == [2, 4]
    assert hits(Rule(fault="html", nth=[1, 4]), 5) == [1, 4]
    half = hits(Rule(fault="html", share=0.5), 400)
    assert 150 < len(half) < 250
    assert half == hits(Rule(fault="html", share=0.5), 400)
    assert half != hits(Rule(fault="html", share=0.5), 400, seed=1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[[rules]]\nmodle = "x"\n', "script.toml:2: rules[0].modle: unknown key, did you mean"),
        (
            '[[rules]]\n[[rules]]\nfault = "nope"\n',
            "script.toml:3: rules[1].fault: Fault 'nope': there is no fault 'nope'.",
        ),
        ("[[rules]]\nusage = [1]\n", "script.toml:2: rules[0].usage: expected two numbers"),
        ("[[rules]]\nshare = 2.0\n", "script.toml:2: rules[0].share: expected a number from 0"),
        ("[[rules]]\nfirst = 0\n", "script.toml:2: rules[0].first: expected 1 or more"),
        (
            '[[rules]]\nmodel = "x"\nfault = "cut:at=connect"\n',
            "script.toml:2: rules[0].model: nothing is known of a request",
        ),
        ("speed = 1\n", "script.toml:1: speed: unknown key"),
    ],
)
def test_a_fault_of_the_file_is_told_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(FileError) as caught:
        read_script(write(tmp_path, text))
    assert why in caught.value.lines[0]


def test_a_rule_may_be_about_connections() -> None:
    plan = make_plan(Script(rules=[Rule(fault="reset:at=connect", first=1)]))
    assert plan(asked()).fault is None
    with run_mock(plan) as mock:
        with socket.create_connection((mock.host, mock.port)) as sock:
            assert hear(sock).end == "rst"
        assert ask(mock).status == 200


def test_a_plan_of_a_script_that_is_wrong_is_refused() -> None:
    with pytest.raises(GatewayError, match="there is no fault 'nope'"):
        make_plan(Script(rules=[Rule(fault="nope")]))


def post(mock: MockServer, value: Any) -> httpx.Response:
    url = f"http://{mock.host}:{mock.port}/__mock__/plan"
    return httpx.post(url, content=value if isinstance(value, bytes) else json.dumps(value))


def test_a_running_mock_is_driven_from_outside() -> None:
    with run_mock() as mock:
        assert SAID in ask(mock).body.decode()
        assert post(mock, {"rules": [{"fault": "html"}], "seed": 9}).json() == {"rules": 1}
        assert ask(mock).body.startswith(b"<!doctype")
        assert mock.seed == 9
        served = httpx.get(f"http://{mock.host}:{mock.port}/__mock__/served").json()["served"]
        assert [(each["number"], each["fault"]) for each in served] == [(1, ""), (2, "html")]
        later = httpx.get(f"http://{mock.host}:{mock.port}/__mock__/served?after=1").json()
        assert [each["number"] for each in later["served"]] == [2]
        assert post(mock, {}).status_code == 200
        assert SAID in ask(mock).body.decode()


@pytest.mark.parametrize("host", ["10.0.0.7", "2001:db8::1", ""])
def test_only_this_machine_may_drive_it(host: str) -> None:
    request = Request("GET", "/__mock__/served", {}, b"")
    assert answer_control(MockServer(), request, host).startswith(b"HTTP/1.1 403 ")
    assert answer_control(MockServer(), request, "::1").startswith(b"HTTP/1.1 200 ")


def test_what_is_no_plan_is_refused_and_changes_nothing() -> None:
    with run_mock() as mock:
        for wrong in (b"\xff", b"[]", {"rules": [{"fault": "nope"}]}, {"what": 1}):
            answer = post(mock, wrong)
            assert answer.status_code == 400
            assert answer.json()["error"]
        url = f"http://{mock.host}:{mock.port}/__mock__/"
        assert httpx.get(f"{url}served?after=x").status_code == 400
        assert httpx.get(f"{url}nothing").status_code == 404
        assert SAID in ask(mock).body.decode()
