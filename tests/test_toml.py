import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from trunkline.toml import FileError, FileFault, read_toml, write_faults


class Target(msgspec.Struct, frozen=True, kw_only=True):
    provider: str
    weight: Annotated[int, Meta(ge=1)] = 1


class Row(msgspec.Struct, frozen=True, kw_only=True):
    targets: tuple[Target, ...] = ()
    sort: Literal["one", "two"] | None = None
    deadlines: dict[Literal["connect_s", "idle_s"], Annotated[float, Meta(gt=0)]] = {}


class Server(msgspec.Struct, frozen=True, kw_only=True):
    host: str = "here"
    port: Annotated[int, Meta(ge=0, le=65535)] = 1
    open: bool = False


class File(msgspec.Struct, frozen=True, kw_only=True):
    server: Server = Server()
    rows: dict[str, Row] = {}
    tags: list[str] = []
    maybe: Server | None = None


def read(folder: Path, text: str) -> File:
    path = folder / "gateway.toml"
    path.write_text(text, "utf-8")
    value, read_text = read_toml(path, File)
    assert read_text == text
    return value


def refuse(folder: Path, text: str) -> list[str]:
    """The lines of faults, without the folder."""
    with pytest.raises(FileError) as caught:
        read(folder, text)
    assert str(caught.value) == "\n".join(caught.value.lines)
    return [line.removeprefix(f"{folder}/") for line in caught.value.lines]


def test_a_file_becomes_a_struct(tmp_path: Path) -> None:
    text = """
        tags = ["a"]
        [server]
        port = 80
        [rows."gpt-4o"]
        targets = [{ provider = "a" }, { provider = "b", weight = 2 }]
        deadlines = { connect_s = 1 }
        [maybe]
    """
    assert read(tmp_path, text) == File(
        server=Server(port=80),
        rows={
            "gpt-4o": Row(
                targets=(Target(provider="a"), Target(provider="b", weight=2)),
                deadlines={"connect_s": 1},
            )
        },
        tags=["a"],
        maybe=Server(),
    )
    assert read(tmp_path, "") == File()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nport = 'x'", "2: server.port: Expected `int`, got `str`"),
        ("[server]\nport = 70000", "2: server.port: Expected `int` <= 65535"),
        ("[server]\nopen = 1", "2: server.open: Expected `bool`, got `int`"),
        ("server.port = 'x'", "1: server.port: Expected `int`, got `str`"),
        ("server = { port = 'x' }", "1: server.port: Expected `int`, got `str`"),
        ("server = 5", "1: server: Expected `object`, got `int`"),
        ("rows = []", "1: rows: Expected `object`, got `array`"),
        ("tags = 'a'", "1: tags: Expected `array`, got `str`"),
        ("tags = ['a', 1]", "1: tags[1]: Expected `str`, got `int`"),
        ("maybe = 5", "1: maybe: Expected `object | null`, got `int`"),
        ("\n[maybe]\nport = -1", "3: maybe.port: Expected `int` >= 0"),
        ("[server]\nprot = 1", "2: server.prot: unknown key, did you mean 'port'?"),
        ("[server]\nxyz = 1", "2: server.xyz: unknown key; known: host, port, open"),
        ("[sever]", "1: sever: unknown key, did you mean 'server'?"),
        ("[rows.a]\nsort = 'three'", "2: rows.a.sort: Invalid enum value 'three'"),
        ("[rows.a]\ntargets = [{}]", "2: rows.a.targets[0].provider: is required"),
        (
            "[rows.a]\ntargets = [\n  { provider = 'a' },\n  { provider = 'b', wieght = 1 },\n]",
            "2: rows.a.targets[1].wieght: unknown key, did you mean 'weight'?",
        ),
        ("[[rows.a.targets]]\nweight = 0", "2: rows.a.targets[0].weight: Expected `int` >= 1"),
        (
            "[rows.a.deadlines]\nconect_s = 1",
            "2: rows.a.deadlines.conect_s: unknown key, did you mean 'connect_s'?",
        ),
        ("[rows.a.deadlines]\nidle_s = 0", "2: rows.a.deadlines.idle_s: Expected `float` > 0.0"),
        ("[rows.a.deadlines]\nidle_s = nan", "2: rows.a.deadlines.idle_s: Expected `float` > 0.0"),
        ('[rows."b c"]\nsort = 5', '2: rows."b c".sort: Expected `str | null`, got `int`'),
        ("[rows.'b.c']\nsort = 5", '2: rows."b.c".sort: Expected `str | null`, got `int`'),
        ("[rows.a] # note\n  sort = 5 # [b]", "2: rows.a.sort: Expected `str | null`, got `int`"),
        (
            "x = '\u2028'\n[server]\nport = ''",
            "1: x: unknown key; known: server, rows, tags, maybe",
        ),
    ],
)
def test_a_fault_is_one_line_with_file_line_key_and_what_was_expected(
    tmp_path: Path, text: str, line: str
) -> None:
    assert refuse(tmp_path, text)[0] == f"gateway.toml:{line}"


def test_every_fault_is_named(tmp_path: Path) -> None:
    text = "[server]\nport = 'x'\nhots = 1\n\n[rows.a]\ntargets = [{ weight = 0 }]\ndeadlines = 1"
    assert [line.split(":")[1:3] for line in refuse(tmp_path, text)] == [
        ["2", " server.port"],
        ["3", " server.hots"],
        ["6", " rows.a.targets[0].weight"],
        ["6", " rows.a.targets[0].provider"],
        ["7", " rows.a.deadlines"],
    ]


def test_odd_line_ends_inside_texts_do_not_shift_the_lines(tmp_path: Path) -> None:
    lines = refuse(tmp_path, 'tags = ["\u2028\u0085"]\n[server]\nport = "x"')
    assert lines == ["gateway.toml:3: server.port: Expected `int`, got `str`"]


def test_a_fault_never_takes_two_lines(tmp_path: Path) -> None:
    [line] = refuse(tmp_path, '[rows.a]\nsort = "x\\ny"')
    assert "\n" not in line
    [line] = refuse(tmp_path, '"a\\nb\\u2028" = 1')
    assert line.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "[server",
        "a = ",
        "a = 1\na = 2",
        "[a]\n[a]",
        "a = " + "[" * 100_000,
        "a = " + "9" * 5000,
        "a = 2026-13-41",
        "\ufeffa = 1",
    ],
)
def test_what_is_no_toml_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    [line] = refuse(tmp_path, text)
    assert line.startswith("gateway.toml: is not TOML: ")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read: No such file") as caught:
        read_toml(tmp_path / "none.toml", File)
    assert len(caught.value.lines) == 1
    with pytest.raises(FileError, match="cannot be read"):
        read_toml(tmp_path, File)
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(FileError, match="it is not UTF-8"):
        read_toml(tmp_path / "latin.toml", File)


def test_faults_of_others_are_written_alike(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    text = "[a]\n\n[b]\nc = 1"
    faults = [
        FileFault(("b", "c"), "is wrong"),
        FileFault(("b", "missing", 3), "is missing"),
        FileFault(("elsewhere",), "is nowhere"),
    ]
    assert write_faults(path, text, faults) == [
        f"{path}:4: b.c: is wrong",
        f"{path}:3: b.missing[3]: is missing",
        f"{path}:1: elsewhere: is nowhere",
    ]


KEYS = ["server", "rows", "tags", "maybe", "host", "port", "targets", "provider", "deadlines"]
names = st.sampled_from(KEYS) | st.text(max_size=5)
values = st.recursive(
    st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.datetimes()
    | st.dates()
    | st.times(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)


def write_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = "".join(f"\\U{ord(char):08x}" for char in value)
        return f'"{escaped}"'
    if isinstance(value, list):
        return f"[{', '.join(map(write_value, value))}]"
    if isinstance(value, dict):
        pairs = (f"{write_value(name)} = {write_value(item)}" for name, item in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return repr(value)


def list_faults(path: Path) -> list[str]:
    """None where the file is good; then it has become a struct."""
    try:
        value, _ = read_toml(path, File)
    except FileError as error:
        return error.lines or [""]
    assert isinstance(value, File)
    return []


@settings(max_examples=200)
@given(value=st.dictionaries(names, values, max_size=4))
def test_any_toml_is_read_or_its_faults_are_told(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]
) -> None:
    text = "\n".join(f"{write_value(name)} = {write_value(item)}" for name, item in value.items())
    assert tomllib.loads(text).keys() == value.keys()
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, "utf-8")
    for line in list_faults(path):
        assert re.fullmatch(rf"{re.escape(str(path))}:[1-9]\d*: [^\n]+", line)


@settings(max_examples=100)
@given(text=st.text(st.sampled_from("[]{}=.,\"'#\n\r\tab01 -\\")))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "text.toml"
    path.write_bytes(text.encode())
    assert all(line.isprintable() for line in list_faults(path))
