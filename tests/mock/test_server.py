"""The server itself: connections, ends, and what it remembers."""

import asyncio
import json
from typing import Any

from mocking import PROMPT, write_request
from scripted import wait_until
from trunkline.mock import Asked, Behaviour, Fault, MockServer, Plan, always, by_model

BODY = json.dumps(write_request("openai")[1]).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: mock\r\n"
REQUEST = HEAD + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)


async def read_answer(reader: asyncio.StreamReader) -> Any:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    size = int(head.partition("content-length: ")[2].partition("\r")[0])
    return json.loads(await reader.readexactly(size))


async def test_a_connection_is_used_again_and_requests_may_wait_in_line() -> None:
    async with MockServer() as mock:
        reader, writer = await asyncio.open_connection(mock.host, mock.port)
        writer.write(REQUEST * 3)
        for _ in range(3):
            assert (await read_answer(reader))["choices"]
        writer.write(HEAD + b"transfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        for byte in BODY:
            writer.write(b"1\r\n%c\r\n" % byte)
        writer.write(b"0\r\n\r\n")
        assert (await read_answer(reader))["usage"]["prompt_tokens"] == len(PROMPT.split())
        writer.close()
        assert [each.number for each in mock.served] == [1, 2, 3, 4]


async def test_what_is_no_request_ends_the_connection() -> None:
    async with MockServer() as mock:
        reader, writer = await asyncio.open_connection(mock.host, mock.port)
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert await reader.read() == b""
        writer.close()


async def test_a_path_of_no_dialect_is_404() -> None:
    async with MockServer() as mock:
        reader, writer = await asyncio.open_connection(mock.host, mock.port)
        writer.write(REQUEST.replace(b"/v1/chat/completions", b"/v1/chat/wherever"))
        assert "no dialect" in (await read_answer(reader))["error"]["message"]
        writer.close()
        assert mock.served[0].status == 404


async def test_leaving_ends_what_hangs() -> None:
    before = len(asyncio.all_tasks())
    async with MockServer(always(Fault("hang"))) as mock:
        _, writer = await asyncio.open_connection(mock.host, mock.port)
        writer.write(REQUEST)
        await writer.drain()
        await wait_until(lambda: bool(mock.served))
        writer.close()
    assert len(asyncio.all_tasks()) == before


async def test_a_client_that_leaves_is_noted_at_once() -> None:
    ended = asyncio.Event()
    behaviour = Behaviour(text="word " * 1000, pace_s=0.005)
    async with MockServer(by_model({"m": behaviour})) as mock:
        mock.on_end = lambda _served: ended.set()
        reader, writer = await asyncio.open_connection(mock.host, mock.port)
        body = json.dumps(write_request("openai", stream=True)[1]).encode()
        writer.write(HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        await reader.readuntil(b"word")
        writer.close()
        async with asyncio.timeout(5):
            await ended.wait()
        (served,) = mock.served
        assert served.client_left_at is not None
        assert served.text.startswith("word")
        assert (served.completed, served.finish) == (False, "")


async def test_a_slow_reader_is_waited_for() -> None:
    behaviour = Behaviour(text="x" * 100_000 + " y" * 300, pace_s=0.0001)
    huge = Behaviour(text="x" * 30_000_000, fault=Fault("delay", delay_s=0))
    async with MockServer(by_model({"m": behaviour, "huge": huge})) as mock:
        reader, writer = await asyncio.open_connection(mock.host, mock.port)
        body = json.dumps(write_request("openai", "huge", stream=True)[1]).encode()
        writer.write(HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0)
        assert not mock.served[0].has_ended  # the text waits for its reader
        writer.close()


async def test_a_share_of_faults_and_pace_are_the_servers_own() -> None:
    def decide(asked: Asked) -> Behaviour:
        assert asked.headers["host"] == "mock"
        return Behaviour(delay_s=0.01)

    async with MockServer(Plan(decide), seed=3, pace_s=0.001) as mock:
        reader, writer = await asyncio.open_connection(mock.host, mock.port)
        writer.write(REQUEST)
        assert (await read_answer(reader))["id"].startswith("mock-")
        writer.close()
        (served,) = mock.served
        assert served.ended_at is not None
        assert served.ended_at - served.began_at >= 0.01


async def test_only_so_much_is_remembered() -> None:
    async with MockServer(kept=4) as mock:
        reader, writer = await asyncio.open_connection(mock.host, mock.port)
        for _ in range(6):
            writer.write(REQUEST)
            await read_answer(reader)
        assert [each.number for each in mock.served] == [3, 4, 5, 6]
        writer.close()
