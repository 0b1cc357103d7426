import logging
from pathlib import Path

import msgspec
import pytest

from trunkline.call import Deadlines
from trunkline.catalog import ProviderSettings, read_catalog
from trunkline.settings import (
    EngineSettings,
    ServerSettings,
    Settings,
    make_demo_settings,
    read_settings,
)
from trunkline.toml import FileError

CATALOG = read_catalog()
ENVIRON = {"LAB_KEY": "sk-lab", "EMPTY": "", "ODD": "sk-\r\nx-evil: 1", "ACCENT": "sk-é"}


def read(folder: Path, text: str) -> Settings:
    path = folder / "gateway.toml"
    path.write_text(text, "utf-8")
    return read_settings(path, CATALOG, ENVIRON)


def refuse(folder: Path, text: str) -> list[str]:
    with pytest.raises(FileError) as caught:
        read(folder, text)
    return [line.removeprefix(f"{folder}/gateway.toml:") for line in caught.value.lines]


def lab(api_key: str) -> str:
    return f'[providers.lab]\nwire = "openai"\nbase_url = "http://h/v1"\napi_key = "{api_key}"\n'


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    settings = read(tmp_path, "")
    assert settings == Settings()
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 5003)
    assert (settings.server.workers, settings.server.drain_s) == (1, 30)
    assert settings.server.max_body_bytes == 20_000_000
    assert settings.deadlines.build({}) == Deadlines(5, 60, 60, 600)
    assert settings.demo.stand_in == ""


def test_the_demo_answers_every_catalog_name() -> None:
    demo = make_demo_settings()
    assert demo.engines == {"smollm2": EngineSettings(model="smollm2-135m-instruct")}
    assert demo.demo.stand_in == "local/smollm2"


def test_a_full_file_is_read(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
        [server]
        host = "::1"
        root_path = "/gw"
        [store]
        url = "sqlite"
        limits_url = "memory"
        [providers.openai]
        api_key = "env:LAB_KEY"
        [providers.lab]
        wire = "openai"
        base_url = "http://127.0.0.1:9100/v1"
        [engines.smol]
        model = "smollm2-135m-instruct"
        context = 2048
        [models."gpt-4o"]
        targets = [
          { provider = "openai", model = "gpt-4o" },
          { provider = "lab", model = "openai/gpt-4o", weight = 1 },
          { provider = "local", model = "smol" },
        ]
        images = true
        [models."gpt-4o".deadlines]
        first_token_s = 2.5
        [models."local/smol"]
        default_max_tokens = 9
        [stream]
        hold_s = 1
        [demo]
        stand_in = "gpt-4o"
        """,
    )
    assert settings.providers["openai"] == msgspec.structs.replace(
        CATALOG.providers["openai"].complete(), api_key="sk-lab"
    )
    assert settings.providers["openai"].base_url == "https://api.openai.com/v1"
    assert (
        settings.providers["lab"]
        == ProviderSettings(wire="openai", base_url="http://127.0.0.1:9100/v1").complete()
    )
    assert settings.providers["lab"].api_key == ""
    model = settings.models["gpt-4o"]
    assert [target.provider for target in model.targets] == ["openai", "lab", "local"]
    assert settings.deadlines.build(model.deadlines) == Deadlines(5, 2.5, 60, 600)
    assert settings.stream.build().hold_s == 1
    assert settings.stream.build().keepalive_s == 15


def test_a_catalog_row_can_be_overridden(tmp_path: Path) -> None:
    settings = read(tmp_path, '[providers.openai]\nbase_url = "https://proxy.test/v1"')
    assert settings.providers["openai"].base_url == "https://proxy.test/v1"
    assert settings.providers["openai"].wire == "openai"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nprot = 1", "2: server.prot: unknown key, did you mean 'port'?"),
        ("[server]\nport = 99999", "2: server.port: Expected `int` <= 65535"),
        ("[server]\nworkers = 0", "2: server.workers: Expected `int` >= 1"),
        ("[modles]", "1: modles: unknown key, did you mean 'models'?"),
        (
            "[providers.lab]\nwire = 'openai'",
            "1: providers.lab.base_url: is required: this row has none of its own",
        ),
        (
            "[providers.llm-engine]",
            "1: providers.llm-engine.base_url: is required: this row has none of its own",
        ),
        (
            "[providers.azure]\napi_key = 'env:LAB_KEY'",
            "1: providers.azure.resource: is required: the address holds it",
        ),
        (
            "[providers.azure]\nresource = 'a/b c'",
            (
                "1: providers.azure.base_url: "
                "the URL holds a blank, a control or a non-ASCII character"
            ),
        ),
        (
            "[providers.vertex_ai]\nproject = 'p'",
            "1: providers.vertex_ai.location: is required: the address holds it",
        ),
        (
            "[providers.openai]\nrewrites = ['n_fan_in']",
            "2: providers.openai.rewrites[0]: Invalid enum value 'n_fan_in'",
        ),
        (
            "[providers.openai]\nserves = ['images']",
            "2: providers.openai.serves[0]: Invalid enum value 'images'",
        ),
        (
            "[providers.openai]\naccess_key = 'env:NONE'",
            "2: providers.openai.access_key: expected the environment variable NONE to be set",
        ),
        (
            "[models.x]\nprompt_mode = 'llama-9'\ntargets = [{ provider = 'lab', model = 'm' }]",
            "2: models.x.prompt_mode: Invalid enum value 'llama-9'",
        ),
        (
            "[providers.lab]\nbase_url = 'http://h'",
            "1: providers.lab.wire: is required for a provider that is new",
        ),
        ("[providers.lab]\nwire = 'soap'", "2: providers.lab.wire: Invalid enum value 'soap'"),
        (
            "[providers.openai]\nbase_url = 'api.openai.com'",
            "2: providers.openai.base_url: the URL must begin with http:// or https://",
        ),
        (
            "[providers.openai]\nbase_url = 'http://'",
            "2: providers.openai.base_url: the URL names no host",
        ),
        (
            "[providers.openai]\nauth = 'digest'",
            "2: providers.openai.auth: Invalid enum value 'digest'",
        ),
        (
            "[providers.local]\nwire = 'openai'\nbase_url = 'http://h'",
            "1: providers.local: 'local' is the name of the engines; choose another",
        ),
        (
            "[providers.'a/b']\nwire = 'openai'\nbase_url = 'http://h'",
            "1: providers.\"a/b\": expected a name without '/', which splits vendor/model",
        ),
        ("[engines.smol]", "1: engines.smol.model: is required"),
        ("[models.x]", "1: models.x.targets: expected at least one target"),
        ("[models.x]\ntargets = []", "2: models.x.targets: expected at least one target"),
        (
            "[models.x]\ntargets = [{ provider = 'lab', model = 'm' }]",
            "2: models.x.targets[0].provider: expected a configured provider (local)",
        ),
        (
            "[models.x]\ntargets = [{ provider = 'local', model = 'm' }]",
            "2: models.x.targets[0].model: expected an engine, got 'm'",
        ),
        (
            "[models.x]\ntargets = [{ provider = 'local' }]",
            "2: models.x.targets[0].model: is required",
        ),
        (
            "[engines.e]\nmodel = 'm'\n[models.'local/e'.deadlines]\nidel_s = 1",
            "4: models.\"local/e\".deadlines.idel_s: unknown key, did you mean 'idle_s'?",
        ),
        ("[deadlines]\nidle_s = 0", "2: deadlines.idle_s: Expected `float` > 0.0"),
        ("[deadlines]\nidle = 1", "2: deadlines.idle: unknown key, did you mean 'idle_s'?"),
        (
            "[demo]\nstand_in = 'x'",
            "2: demo.stand_in: expected a configured model or engine",
        ),
        (
            "[store]\nurl = 'mysql://'",
            (
                '2: store.url: expected "sqlite" or "postgresql://user:password@host:port/database"'
                ", with %XX for special characters of the user and the password "
                "(%40 for @, %2F for /)"
            ),
        ),
        (
            "[store]\nurl = 'env:NONE'",
            "2: store.url: expected the environment variable NONE to be set",
        ),
        (
            "[store]\nlimits_url = 'http://h'",
            (
                '2: store.limits_url: expected "memory" or "redis://user:password@host:port/number"'
                " (rediss:// for TLS), with %XX for special characters of the user and the "
                "password (%40 for @, %2F for /)"
            ),
        ),
    ],
)
def test_a_fault_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    assert refuse(tmp_path, text) == [line]


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    text = "[providers.lab]\n[models.x]\n[demo]\nstand_in = 'y'"
    assert [line.split(": ")[1] for line in refuse(tmp_path, text)] == [
        "providers.lab.wire",
        "providers.lab.base_url",
        "models.x.targets",
        "demo.stand_in",
    ]


def test_a_secret_comes_from_the_environment(tmp_path: Path) -> None:
    assert read(tmp_path, lab("env:LAB_KEY")).providers["lab"].api_key == "sk-lab"


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-file\n")
    assert read(tmp_path, lab(f"file:{tmp_path}/key")).providers["lab"].api_key == "sk-file"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("env:NONE", "expected the environment variable NONE to be set"),
        ("env:EMPTY", "expected the environment variable EMPTY to be set"),
        ("env:", "expected the environment variable  to be set"),
        ("file:/none/here", "expected a readable text file at /none/here"),
        ("file:/", "expected a readable text file at /"),
        ("file:", "expected a readable text file at "),
        ("env:ODD", "expected a secret of printable ASCII characters on one line"),
        ("env:ACCENT", "expected a secret of printable ASCII characters on one line"),
    ],
)
def test_a_secret_that_cannot_be_had_is_told(tmp_path: Path, reference: str, message: str) -> None:
    [line] = refuse(tmp_path, lab(reference))
    assert line == f"4: providers.lab.api_key: {message}"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff", b"sk-a\nsk-b"])
def test_a_file_without_a_secret_is_told_without_its_content(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "key").write_bytes(content)
    [line] = refuse(tmp_path, lab(f"file:{tmp_path}/key"))
    assert line.startswith("4: providers.lab.api_key: expected")
    assert "sk-a" not in line


def test_a_literal_secret_is_taken_and_warned_about_without_being_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path, lab("sk-literal")).providers["lab"].api_key == "sk-literal"
    assert "providers.lab.api_key stands in the file itself" in caplog.text
    assert "sk-literal" not in caplog.text


def test_a_reference_is_not_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read(tmp_path, lab("env:LAB_KEY"))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.168.0.5", True),
        ("", True),
        ("gateway.test", True),
    ],
)
def test_a_host_that_others_can_reach_is_public(host: str, *, public: bool) -> None:
    assert ServerSettings(host=host).is_public is public


def test_a_service_account_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text('{"type": "authorized_user"}')
    vertex = "[providers.vertex_ai]\nproject = 'p'\nlocation = 'l'\nservice_account = '{}'"
    (line,) = refuse(tmp_path, vertex.format(tmp_path / "key.json"))
    assert line.startswith("1: providers.vertex_ai.auth: ")
    assert "authorized_user" in line


def test_every_word_of_a_row_can_be_overridden(tmp_path: Path) -> None:
    given = read(
        tmp_path,
        """
        [providers.groq]
        wire = "openai"
        auth = "x-api-key"
        headers = { x-team = "a" }
        serves = ["chat"]
        paths = { chat = "/ask/{model}" }
        drops = []
        rewrites = ["stop_list"]
        images = "none"
        constrains = true
        caller_key = true
        """,
    ).providers["groq"]
    row = given.build_row()
    assert (row.drops, row.rewrites, row.images) == ((), ("stop_list",), "none")
    assert (row.serves, row.paths) == (("chat",), {"chat": "/ask/{model}"})
    assert (row.constrains, row.caller_key) == (True, True)
    assert (given.auth, given.headers) == ("x-api-key", {"x-team": "a"})
    assert given.base_url == CATALOG.providers["groq"].base_url


def test_a_name_that_a_provider_serves_by_itself_needs_no_targets(tmp_path: Path) -> None:
    longer = "[models.gpt-4o.deadlines]\ntotal_s = 900\n"
    assert refuse(tmp_path, longer) == ["1: models.gpt-4o.targets: expected at least one target"]
    assert read(tmp_path, f"{longer}[providers.openai]").models["gpt-4o"].targets == ()
    stand_in = "[demo]\nstand_in = 'gpt-4o'\n"
    assert refuse(tmp_path, stand_in) == ["2: demo.stand_in: expected a configured model or engine"]
    assert read(tmp_path, f"{stand_in}[providers.openai]").demo.stand_in == "gpt-4o"


def test_a_stores_url_is_resolved_and_a_password_in_the_file_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = "postgresql://me:pw-canary@db/trunkline"
    path = tmp_path / "t.toml"
    path.write_text("[store]\nurl = 'env:STORE_URL'")
    assert read_settings(path, read_catalog(), {"STORE_URL": url}).store.url == url
    assert caplog.text == ""
    path.write_text(f"[store]\nurl = '{url}'")
    assert read_settings(path, read_catalog(), {}).store.url == url
    assert "store.url holds a password" in caplog.text
    assert "canary" not in caplog.text
