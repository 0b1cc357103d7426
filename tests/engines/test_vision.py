"""The real engine with a projector: it reads images that come as data, and fetches none."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from engines.conftest import wait_until
from engines.projector import IMAGE_TOKENS, draw_png, write_data_url, write_projector
from engines.shelf import Shelf
from trunkline.engines.process import EngineProcess
from trunkline.engines.spec import EngineError, EngineSpec

pytestmark = pytest.mark.model

CANARY = "canary-okapi-4712"
RED = draw_png(255, 0, 0)
BLUE = draw_png(0, 0, 255)
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 "


@pytest.fixture(scope="module")
def lure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with programs of ffmpeg's names that leave a trace beside them."""
    folder = tmp_path_factory.mktemp("lure")
    for name in ("ffprobe", "ffmpeg"):
        program = folder / name
        program.write_text(f"#!/bin/sh\n: > {folder}/started\n")
        program.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def engine(
    model_path: Path, lure: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineProcess]:
    folder = tmp_path_factory.mktemp("vision")
    projector = write_projector(folder / "projector.gguf")
    spec = EngineSpec("eye", model_path, "eye", context_tokens=2048, slots=1, mmproj=projector)
    process = EngineProcess(spec, folder / "eye.log")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{lure}:{os.environ['PATH']}")
        process.start()
        process.wait_ready(60)
    yield process
    assert process.starts == 1
    process.stop()


def ask(
    engine: EngineProcess, *urls: str, kind: str = "image_url", **fields: Any
) -> httpx.Response:
    """Ask about images; ``kind`` names the part that carries each address."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": "What is this?"}]
    parts += [{"type": kind, kind: {"url": url}} for url in urls]
    body = {"messages": [{"role": "user", "content": parts}], "max_tokens": 2, "temperature": 0}
    headers = {"Authorization": f"Bearer {engine.key}"}
    url = f"{engine.address}/v1/chat/completions"
    return httpx.post(url, json=body | {"logprobs": True} | fields, headers=headers, timeout=60)


def count_prompt(response: httpx.Response) -> int:
    assert response.status_code == 200, response.text
    count: int = response.json()["usage"]["prompt_tokens"]
    return count


def read_likelihoods(response: httpx.Response) -> list[float]:
    assert response.status_code == 200, response.text
    tokens = response.json()["choices"][0]["logprobs"]["content"]
    return [token["logprob"] for token in tokens]


def test_every_image_is_counted_in_the_prompt(engine: EngineProcess) -> None:
    alone = count_prompt(ask(engine))
    one, two = write_data_url(RED), write_data_url(BLUE)
    assert count_prompt(ask(engine, one)) == alone + IMAGE_TOKENS
    assert count_prompt(ask(engine, one, two)) == alone + 2 * IMAGE_TOKENS


def test_the_answer_depends_on_the_image_and_on_nothing_else(engine: EngineProcess) -> None:
    red = read_likelihoods(ask(engine, write_data_url(RED)))
    blue = read_likelihoods(ask(engine, write_data_url(BLUE)))
    assert abs(red[0] - blue[0]) > 0.001
    again = read_likelihoods(ask(engine, write_data_url(RED)))
    assert again == pytest.approx(red, abs=1e-4)


def test_images_go_with_streams_as_the_gateway_asks_for_them(engine: EngineProcess) -> None:
    whole = ask(engine, write_data_url(RED))
    stream: dict[str, Any] = {"stream": True, "return_progress": True}
    stream["stream_options"] = {"include_usage": True}
    text = ask(engine, write_data_url(RED), **stream).text
    assert text.endswith("data: [DONE]\n\n")
    chunks = [json.loads(line[6:]) for line in text.splitlines()[:-2] if line]
    assert [chunk["usage"]["prompt_tokens"] for chunk in chunks if chunk.get("usage")] == [
        count_prompt(whole)
    ]


@pytest.mark.parametrize(
    "url",
    [
        write_data_url(RED[:60]),
        write_data_url(b"no image"),
        write_data_url(b""),
        write_data_url(WEBP, "image/webp"),
        write_data_url(b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
        write_data_url(RED, "text/plain"),
        "data:image/png;base64,!!!!",
        "data:image/png,not-base64",
    ],
)
def test_a_broken_image_is_the_clients_fault(engine: EngineProcess, url: str) -> None:
    response = ask(engine, url)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("kind", ["image_url", "video_url", "input_video"])
def test_no_address_is_fetched(engine: EngineProcess, kind: str) -> None:
    with Shelf({"/red.png": RED}) as shelf:
        url = f"{shelf.url}/red.png"
        assert httpx.get(url).content == RED
        assert ask(engine, url, kind=kind).status_code >= 400
        assert [path for path, _ in shelf.asked] == ["/red.png"]


def test_no_file_is_read(engine: EngineProcess, tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(RED)
    assert ask(engine, f"file://{path}").status_code == 400
    assert ask(engine, str(path)).status_code >= 400


def test_no_program_is_started(engine: EngineProcess, lure: Path) -> None:
    trace = lure / "started"
    subprocess.run([lure / "ffprobe"], check=True)
    assert trace.exists()
    trace.unlink()
    for content in (WEBP, b"#EXTM3U\nhttp://127.0.0.1:9/", b"\x00\x00\x00\x18ftypmp42"):
        assert ask(engine, write_data_url(content)).status_code == 400
    assert not trace.exists()


def test_no_part_of_an_image_is_logged(engine: EngineProcess) -> None:
    before = engine.log_path.read_text().count("failed to decode buffer")
    for url in (f"http://127.0.0.1:9/{CANARY}", f"file:///{CANARY}", f"data:{CANARY};base64,AAAA"):
        assert ask(engine, url).status_code >= 400
    assert ask(engine, write_data_url(CANARY.encode())).status_code == 400
    log = engine.log_path
    wait_until(lambda: log.read_text().count("failed to decode buffer") > before, "the log")
    assert CANARY not in log.read_text()


def test_a_projector_of_another_model_is_told(model_path: Path, tmp_path: Path) -> None:
    projector = write_projector(tmp_path / "other.gguf", model_width=64)
    engine = EngineProcess(
        EngineSpec("eye", model_path, "eye", 512, slots=1, mmproj=projector), tmp_path / "e.log"
    )
    engine.start()
    with pytest.raises(EngineError, match="mismatch between text model") as failure:
        engine.wait_ready(60)
    engine.stop()
    assert "other.gguf" in str(failure.value)


def test_what_cannot_be_sealed_reads_no_images(model_path: Path, tmp_path: Path) -> None:
    child = (
        "import os, platform; platform.machine = lambda: 'abacus';"
        "from trunkline.engines.child import main; os._exit(main())"
    )
    spec = EngineSpec("eye", model_path, "eye", 512, slots=1)
    blind = EngineProcess(spec, tmp_path / "b.log", command=(sys.executable, "-c", child))
    blind.start()
    blind.wait_ready(60)
    blind.stop()
    assert "engine eye cannot be sealed" in blind.log_path.read_text()
    spec = msgspec.structs.replace(spec, mmproj=write_projector(tmp_path / "projector.gguf"))
    seeing = EngineProcess(spec, tmp_path / "s.log", command=(sys.executable, "-c", child))
    seeing.start()
    with pytest.raises(EngineError, match="no seal is known for abacus"):
        seeing.wait_ready(60)
    seeing.stop()
    assert seeing.starts == 1
