import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

from scripted import Peer, ScriptedServer, answering, wait_until
from trunkline.errors import GatewayError
from trunkline.providers.dial import TlsOptions, _race_addresses, build_context
from trunkline.providers.upstream import ConnectFailed, Origin, Upstream

Reach = Callable[..., Any]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return str(path)


def build_server_tls(ca: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    return context


def at(server: ScriptedServer) -> Origin:
    return Origin("https", server.host, server.port)


async def test_tls_with_a_private_authority(reach: Reach, ca: trustme.CA, ca_file: str) -> None:
    async with ScriptedServer(answering(b"secret"), tls=build_server_tls(ca)) as server:
        client = reach(at(server), tls=TlsOptions(ca_file=ca_file))
        for _ in range(3):
            assert await client.fetch() == b"secret"
        assert len(server.peers) == 1


async def test_a_large_body_both_ways_over_tls(reach: Reach, ca: trustme.CA, ca_file: str) -> None:
    async def echo(peer: Peer) -> None:
        request = await peer.request()
        await peer.answer(request.body)

    async with ScriptedServer(echo, tls=build_server_tls(ca)) as server:
        body = bytes(range(256)) * 20_000
        assert await reach(at(server), tls=TlsOptions(ca_file=ca_file)).fetch(body) == body


async def test_another_authority_is_refused(reach: Reach, ca: trustme.CA) -> None:
    async with ScriptedServer(answering(), tls=build_server_tls(ca)) as server:
        with pytest.raises(ConnectFailed, match="certificate is refused") as caught:
            await reach(at(server)).fetch()
        assert caught.value.code == "upstream_error"
        assert server.requests == []


async def test_another_name_is_refused(reach: Reach, ca: trustme.CA, ca_file: str) -> None:
    tls = build_server_tls(ca, "other.example")
    async with ScriptedServer(answering(), tls=tls) as server:
        with pytest.raises(ConnectFailed, match="certificate is refused"):
            await reach(at(server), tls=TlsOptions(ca_file=ca_file)).fetch()
        assert server.requests == []
        unchecked = reach(at(server), tls=TlsOptions(verify=False))
        assert await unchecked.fetch() == b"{}"


async def test_a_client_certificate(
    reach: Reach, ca: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    tls = build_server_tls(ca)
    tls.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(tls)
    pem = tmp_path / "client.pem"
    ca.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(pem)
    async with ScriptedServer(answering(b"welcome"), tls=tls) as server:
        options = TlsOptions(ca_file=ca_file, cert_file=str(pem))
        assert await reach(at(server), tls=options).fetch() == b"welcome"
        with pytest.raises(GatewayError) as caught:
            await reach(at(server), tls=TlsOptions(ca_file=ca_file)).fetch()
        assert caught.value.code == "upstream_error"


async def test_a_server_without_tls(reach: Reach, ca_file: str) -> None:
    async def plain(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with ScriptedServer(plain) as server:
        with pytest.raises(ConnectFailed, match="TLS failed"):
            await reach(at(server), tls=TlsOptions(ca_file=ca_file)).fetch()


@pytest.mark.parametrize("field", ["ca_file", "cert_file"])
def test_a_file_that_is_no_pem_is_named(field: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    for path in (str(bad), str(tmp_path / "absent.pem")):
        options = msgspec.structs.replace(TlsOptions(), **{field: path})
        with pytest.raises(ValueError, match=field) as caught:
            build_context(options)
        assert path in str(caught.value)


async def test_nobody_listens(reach: Reach) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(ConnectFailed, match="connection refused") as caught:
            await reach(Origin("http", "127.0.0.1", port)).fetch()
    assert caught.value.status == 502
    assert f"http://127.0.0.1:{port}" in caught.value.message


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70 + ".example"])
async def test_a_name_that_is_unknown(reach: Reach, host: str) -> None:
    with pytest.raises(ConnectFailed, match="its name is not"):
        await reach(Origin("http", host, 80)).fetch()


async def test_a_proxy_tunnels_tls(reach: Reach, ca: trustme.CA, ca_file: str) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def tunnel(peer: Peer) -> None:
        request = await peer.request()
        host, _, port = request.target.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            await peer.write(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")
            await asyncio.gather(pump(reader, peer.writer), pump(peer.reader, writer))
        finally:
            writer.transport.abort()

    async with (
        ScriptedServer(answering(b"through"), tls=build_server_tls(ca)) as server,
        ScriptedServer(tunnel) as proxy,
    ):
        way = f"http://me:pass@127.0.0.1:{proxy.port}"
        client = reach(at(server), tls=TlsOptions(ca_file=ca_file), proxy=way)
        assert await client.fetch() == b"through"
        assert await client.fetch() == b"through"
        (request,) = proxy.requests
        assert (request.method, request.target) == ("CONNECT", f"127.0.0.1:{server.port}")
        assert request.headers["proxy-authorization"] == "Basic bWU6cGFzcw=="
        assert "proxy-authorization" not in server.requests[0].headers
        await client.upstream.close()


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "with status 407"),
        (b"HTTP/1.1 200 OK\r\n\r\n\x16\x03\x01", "more than an answer"),
        (b"SSH-2.0\r\n\r\n", "does not speak"),
        (b"HTTP/1.1 200 OK\r\n", "more than an answer"),
        (b"", "does not speak"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000, "more than an answer"),
    ],
)
async def test_a_proxy_that_refuses(reach: Reach, answer: bytes, word: str) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.request()
        await peer.write(answer)

    async with ScriptedServer(refuse) as proxy:
        way = f"http://me:hunter2@127.0.0.1:{proxy.port}"
        with pytest.raises(ConnectFailed, match=word) as caught:
            await reach(Origin("https", "vendor.example", 443), proxy=way).fetch()
        assert "hunter2" not in caught.value.message
        assert caught.value.code == "upstream_error"


async def test_a_proxy_gets_the_whole_url_of_plain_http(reach: Reach) -> None:
    async with ScriptedServer(answering(b"forwarded")) as proxy:
        way = f"http://me:pass@127.0.0.1:{proxy.port}"
        client = reach(Origin("http", "vendor.example", 8080), proxy=way)
        assert await client.fetch() == b"forwarded"
        assert await client.fetch() == b"forwarded"
        request = proxy.requests[1]
        assert request.target == "http://vendor.example:8080/v1/x"
        assert request.headers["host"] == "upstream.example"
        assert request.headers["proxy-authorization"] == "Basic bWU6cGFzcw=="
        assert request.headers["content-length"] == "2"


def test_a_bad_proxy_is_refused_when_the_upstream_is_made() -> None:
    with pytest.raises(ValueError, match="http://"):
        Upstream(Origin("https", "vendor.example", 443), proxy="socks5://x")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_localhost_with_one_family_listening(reach: Reach, host: str) -> None:
    found = socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    if host not in {info[4][0] for info in found}:
        host = "127.0.0.1"  # this machine knows localhost by one family only
    async with ScriptedServer(answering(b"here"), host=host) as server:
        assert await reach(Origin("http", "localhost", server.port)).fetch() == b"here"


async def test_an_address_that_refuses_gives_way_at_once() -> None:
    loop = asyncio.get_running_loop()
    async with ScriptedServer(answering()) as server:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            refusing = (socket.AF_INET, bound.getsockname())
            good = (socket.AF_INET, ("127.0.0.1", server.port))
            start = loop.time()
            with await _race_addresses(loop, [refusing, refusing, good]) as sock:
                assert sock.getpeername() == good[1]
            assert loop.time() - start < 0.45  # each would have had a quarter of a second
            with pytest.raises(ConnectionRefusedError):
                await _race_addresses(loop, [refusing, refusing])


async def test_an_address_that_is_silent_is_overtaken() -> None:
    loop = asyncio.get_running_loop()
    async with ScriptedServer(answering()) as server:
        with ExitStack() as stack:
            # The kernel accepts one connection that nobody takes, and drops what comes after.
            full = stack.enter_context(socket.socket())
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for _ in range(2):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            silent = (socket.AF_INET, full.getsockname())
            good = (socket.AF_INET, ("127.0.0.1", server.port))
            with await asyncio.wait_for(_race_addresses(loop, [silent, good, good]), 5) as sock:
                assert sock.getpeername() == good[1]
            await wait_until(
                lambda: not any("_connect" in repr(each) for each in asyncio.all_tasks())
            )


async def test_cancelling_a_dial_leaves_no_socket(reach: Reach) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client = reach(Origin("https", "127.0.0.1", silent.getsockname()[1]))
        task = asyncio.create_task(client.fetch())
        accepted, _ = await asyncio.get_running_loop().run_in_executor(None, silent.accept)
        with accepted:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)
            accepted.settimeout(5)
            received = await asyncio.get_running_loop().run_in_executor(None, read_out, accepted)
            assert received == b"" or received.startswith(b"\x16")


def read_out(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data
