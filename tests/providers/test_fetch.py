import asyncio
import gzip

import pytest

from providers.net import CANARY, IMAGE, PNG, Net, expect_refusal, fetch, redirecting, run
from scripted import Peer, Script, ScriptedServer, answering, build_head, sending
from trunkline.errand import Errand
from trunkline.providers.fetch import Fetched, Fetcher


@pytest.mark.parametrize(
    ("media_type", "start"),
    [
        ("image/png", PNG),
        ("image/jpeg", b"\xff\xd8\xff\xe0"),
        ("image/gif", b"GIF87a"),
        ("image/gif", b"GIF89a"),
        ("image/webp", b"RIFF\x1a\x00\x00\x00WEBPVP8 "),
        ("application/pdf", b"%PDF-1.7"),
    ],
)
async def test_a_file_of_each_type(media_type: str, start: bytes) -> None:
    data = start + bytes(100_000)
    headers = {"content-type": media_type.upper() + "; charset=binary"}
    async with ScriptedServer(answering(data, headers=headers)) as server:
        assert await fetch(server) == Fetched(media_type, data)


async def test_the_request_says_no_more_than_it_must() -> None:
    answer = answering(PNG, headers=IMAGE | {"set-cookie": "a=1"})
    async with ScriptedServer(answer) as server:
        await fetch(server, "/a b/ü.png?q=1&r=%20#part")
        await fetch(server, "?q=1")
        first, second = server.requests
        assert (first.method, first.target) == ("GET", "/a%20b/%C3%BC.png?q=1&r=%20")
        assert second.target == "/?q=1"
        assert first.body == b""
        for request in server.requests:
            assert request.headers == {
                "host": f"127.0.0.1:{server.port}",
                "accept": "application/pdf, image/gif, image/jpeg, image/png, image/webp",
                "accept-encoding": "identity",
                "user-agent": "trunkline",
                "connection": "close",
                "content-length": "0",
            }


async def test_the_environments_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        ScriptedServer(answering(PNG, headers=IMAGE)) as server,
        ScriptedServer(answering(b"", 403)) as proxy,
    ):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert (await fetch(server)).data == PNG
        assert proxy.peers == []


@pytest.mark.parametrize(
    ("data", "headers", "word"),
    [
        (PNG, {"content-type": "text/html"}, "something else than"),
        (PNG, {"content-type": "application/pdf"}, "something else than image/gif, image/png"),
        (PNG, {}, "something else than"),
        (PNG, {"content-type": "image/gif"}, "not of the type image/gif"),
        (b"GIF89a", IMAGE, "not of the type image/png"),
        (b" " + PNG, IMAGE, "not of the type image/png"),
        (b"", IMAGE, "not of the type image/png"),
        (PNG, IMAGE | {"content-encoding": "br"}, "not asked for"),
        (PNG, IMAGE | {"content-encoding": "gzip"}, "not compressed as it says"),
    ],
)
async def test_another_file_than_wanted(data: bytes, headers: dict[str, str], word: str) -> None:
    async with ScriptedServer(answering(data, headers=headers)) as server:
        wanted = frozenset({"image/png", "image/gif"})
        fetching = fetch(server, f"/{CANARY}?{CANARY}", media_types=wanted)
        await expect_refusal(fetching, word, f"http://127.0.0.1:{server.port} ")


@pytest.mark.parametrize("data", [b"RIFF\x1a\x00\x00\x00WAVEfmt ", b"RIFF", b"WEBPVP"])
async def test_other_riff_files_are_no_webp(data: bytes) -> None:
    headers = {"content-type": "image/webp"}
    async with ScriptedServer(answering(data, headers=headers)) as server:
        await expect_refusal(fetch(server), "not of the type image/webp")


def test_a_type_that_cannot_be_checked_is_no_setting() -> None:
    with pytest.raises(ValueError, match="text/html"):
        Fetcher(media_types=frozenset({"image/png", "text/html"}))


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "begin with http:// or https://"),
        ("a.png", "begin with http:// or https://"),
        ("file:///etc/passwd", "begin with http:// or https://"),
        ("ftp://files.example/a.png", "begin with http:// or https://"),
        ("data:image/png;base64,AAAA", "begin with http:// or https://"),
        (" http://files.example/", "begin with http:// or https://"),
        ("ht\ntp://files.example/", "begin with http:// or https://"),
        ("http:///a.png", "names no host"),
        (f"http://me:{CANARY}@files.example/", "user name or password"),
        (f"http://{CANARY}@127.0.0.1/", "user name or password"),
        ("http://files.example\\@127.0.0.1/", "user name or password"),
        ("http://[::1/", "not a URL"),
        ("http://files.example:x/", "not a URL"),
        ("http://files.example:0/", "port 0"),
        ("http://files.example:8080/", "http://files.example:8080 is not at port 80 or 443"),
        ("https://127.0.0.1:22/", "not at port"),
        ("http://büro.example/", "xn--"),
        ("http://files.example\r\nx-y/", "cannot be looked up"),
        ("http://files..example/", "cannot be looked up"),
        ("http://.files.example/", "cannot be looked up"),
        ("http://[fe80::1%25lo]/", "cannot be looked up"),
        (f"http://{'x' * 64}.example/", "cannot be looked up"),
        (f"http://{'x.' * 127}example/", "cannot be looked up"),
        ("http://files.example/\ud800", "Unicode"),
        ("http://files.example/" + "x" * 9000, "longer than 8192"),
    ],
)
async def test_urls_that_nothing_is_asked_for(url: str, word: str) -> None:
    await expect_refusal(Fetcher().fetch(url), word)


async def test_what_is_allowed_is_one_host_at_one_port() -> None:
    async with ScriptedServer(answering(PNG, headers=IMAGE)) as server:
        here = f"localhost:{server.port}"
        fetcher = Fetcher(allow=frozenset({here.upper(), "127.0.0.1:80"}))
        assert (await fetcher.fetch(f"http://{here}/")).data == PNG
        await expect_refusal(fetcher.fetch(server.url), "not at port 80 or 443")
        await expect_refusal(fetcher.fetch("http://localhost/"), "not at a public address")
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/b?c=d", "b?c=d", "?c=d", "{url}/b?c=d", "/b c/ü"])
async def test_redirects_are_followed(status: int, location: str) -> None:
    file = answering(PNG, headers=IMAGE)
    async with ScriptedServer() as server:
        server._scripts = (redirecting(location.format(url=server.url), status), file)
        assert (await fetch(server, "/a?b=c")).data == PNG
        target = {"?c=d": "/a?c=d", "/b c/ü": "/b%20c/%FC"}.get(location, "/b?c=d")
        assert [request.target for request in server.requests] == ["/a?b=c", target]


@pytest.mark.parametrize(
    ("location", "word"),
    [
        (f"http://127.0.0.1/?{CANARY}", "http://127.0.0.1:80 is not at a public address"),
        ("https://localhost/", "https://localhost:443 is not at a public address"),
        ("//[::ffff:7f00:1]/", "not at a public address"),
        ("http://127.0.0.1:1/", "not at port 80 or 443"),
        (f"http://a:{CANARY}@files.example/", "user name or password"),
        ("file:///etc/passwd", "begin with http:// or https://"),
        ("http://[::1", "redirects to what is not a URL"),
        ("", "without saying where"),
        ("/" + "x" * 9000, "longer than 8192"),
    ],
)
async def test_redirects_that_lead_astray(location: str, word: str) -> None:
    async with ScriptedServer(redirecting(location)) as server:
        await expect_refusal(fetch(server), word)
        assert len(server.requests) == 1


@pytest.mark.parametrize(("most", "asked"), [(3, 4), (0, 1)])
async def test_redirects_end(most: int, asked: int) -> None:
    async with ScriptedServer(redirecting("/again")) as server:
        fetching = fetch(server, most_redirects=most)
        await expect_refusal(fetching, f"more than {most} redirects", str(server.port))
        assert len(server.requests) == asked
    file = answering(PNG, headers=IMAGE)
    async with ScriptedServer(*[redirecting("/again")] * most, file) as server:
        assert (await fetch(server, most_redirects=most)).data == PNG


@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_file_over_the_limit(is_announced: bool) -> None:
    async def endless(peer: Peer) -> None:
        await peer.request()
        if is_announced:
            await peer.write(build_head(200, IMAGE | {"content-length": "1001"}))
        else:
            await peer.begin_chunked(headers=IMAGE)
            await peer.chunk(PNG + bytes(1000))
        await peer.wait_closed()

    async with ScriptedServer(endless) as server:
        await expect_refusal(fetch(server, limit_bytes=1000), "more than 1000 bytes")
        await asyncio.wait_for(server.peers[0].is_left.wait(), 5)
    file = PNG.ljust(1000)
    async with ScriptedServer(answering(file, headers=IMAGE)) as server:
        assert (await fetch(server, limit_bytes=1000)).data == file


async def test_a_compressed_file_counts_as_what_it_becomes() -> None:
    data = PNG + bytes(1 << 20)
    headers = IMAGE | {"content-encoding": "gzip"}
    async with ScriptedServer(answering(gzip.compress(data), headers=headers)) as server:
        assert (await fetch(server)).data == data
        await expect_refusal(fetch(server, limit_bytes=1 << 20), "more than 1048576 bytes")


@pytest.mark.parametrize(
    "first", [b"", build_head(200, IMAGE), build_head(200, IMAGE | {"content-length": "99"}) + PNG]
)
async def test_a_server_that_stops(first: bytes) -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.write(first)
        await peer.wait_closed()

    async with ScriptedServer(silent) as server:
        await expect_refusal(fetch(server, total_s=0.05), "did not send it within 0.05 s")
        await asyncio.wait_for(server.peers[0].is_left.wait(), 5)


def test_the_time_limit_is_for_all_redirects_together() -> None:
    async def work(net: Net) -> None:
        async def slow(peer: Peer) -> None:
            await peer.request()
            net.ahead_s += 10
            await peer.answer(b"", 302, {"location": "/again"})

        async with ScriptedServer(slow) as server:
            net.routes["127.0.0.1", server.port] = server.port
            await expect_refusal(fetch(server), "did not send it within 15 s")
            assert len(server.requests) == 2

    run(work)


@pytest.mark.parametrize(
    ("script", "word"),
    [
        (answering(PNG, 404, IMAGE), "answered with status 404"),
        (answering(PNG, 206, IMAGE), "answered with status 206"),
        (sending(b"SSH-2.0\r\n"), "not an HTTP/1.1 answer"),
        (sending(b""), "without an answer"),
        (sending(build_head(200, IMAGE | {"content-length": "99"}) + PNG), "before the end"),
    ],
)
async def test_answers_that_are_none(script: Script, word: str) -> None:
    async with ScriptedServer(script) as server:
        await expect_refusal(fetch(server), word)


async def test_in_an_errand_as_in_a_task() -> None:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Fetched] = loop.create_future()

    async with ScriptedServer(redirecting("/b"), answering(PNG, headers=IMAGE)) as server:

        async def work() -> None:
            assert asyncio.current_task() is None
            ended.set_result(await fetch(server))

        loop.call_soon(Errand(loop, work(), lambda _: None).step)
        assert (await asyncio.wait_for(ended, 5)).data == PNG


async def test_cancelling_leaves_no_connection() -> None:
    asked = asyncio.Event()

    async def silent(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.wait_closed()

    async with ScriptedServer(silent) as server:
        task = asyncio.create_task(fetch(server))
        await asyncio.wait_for(asked.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.peers[0].is_left.wait(), 5)
