"""Where the fetcher goes, and where it does not: addresses, names, ports, certificates."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from providers.net import CANARY, IMAGE, PNG, PUBLIC, Net, expect_refusal, redirecting, run
from scripted import ScriptedServer, answering
from trunkline.errors import GatewayError
from trunkline.providers.fetch import Fetcher, is_public

FILE = answering(PNG, headers=IMAGE)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's authorities are this one, as far as OpenSSL can tell."""
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))


def build_server_tls(ca: trustme.CA, name: str, asked: list[Any]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    context.sni_callback = lambda _sock, asked_for, _context: asked.append(asked_for)
    return context


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LocalHost",
        "0.0.0.0",
        "0",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "10.0.0.1",
        "169.254.169.254",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:a9fe:a9fe]",
        "[64:ff9b::10.0.0.1]",
        "[fe80::1]",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_hosts_inside_are_refused(scheme: str, host: str) -> None:
    url = f"{scheme}://{host}/{CANARY}?{CANARY}"
    await expect_refusal(Fetcher().fetch(url), f"{scheme}://", "is not at a public address")


@pytest.mark.parametrize(
    ("is_outside", "addresses"),
    [
        (True, "8.8.8.8 1.1.1.1 100.63.255.255 192.0.1.1 223.255.255.255 168.63.129.17"),
        (True, "2606:4700::1111 2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1"),
        (False, "0.0.0.0 10.1.2.3 100.64.0.1 127.9.9.9 169.254.1.1 172.16.0.1 192.168.0.1"),
        (False, "192.0.0.8 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1"),
        (False, "224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 168.63.129.16"),
        (False, ":: ::1 ::7f00:1 ::8.8.8.8 100::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fec0::1"),
        (False, "fe80::1 fe80::1%1 ff02::1 ff0e::1 2001:db8::1 3fff::1 2001:2::1 2001:10::1"),
        (False, "::ffff:10.0.0.1 ::ffff:0:8.8.8.8 ::ffff:224.0.0.1 ::ffff:168.63.129.16"),
        (False, "64:ff9b::127.0.0.1 64:ff9b:1::8.8.8.8 2002:7f00:1:: 2002:a9fe:a9fe::1"),
        (False, "2001:0:808:808::f7f7:f7f7 2001::1 nonsense 1.2.3"),
    ],
)
def test_which_addresses_are_public(is_outside: bool, addresses: str) -> None:
    assert [text for text in addresses.split() if is_public(text) != is_outside] == []


def test_a_name_is_looked_up_once_and_its_address_is_the_one_that_is_used(
    ca: trustme.CA, trusting: None
) -> None:
    async def work(net: Net) -> None:
        asked: list[Any] = []
        tls = build_server_tls(ca, "files.example", asked)
        async with ScriptedServer(FILE, tls=tls) as server:
            net.names["files.example"] = [[PUBLIC], ["127.0.0.1"]]
            net.routes[PUBLIC, 443] = server.port
            fetched = await Fetcher().fetch("https://Files.Example/a.png")
            assert fetched.data == PNG
            assert net.names["files.example"] == [["127.0.0.1"]]
            assert net.connected == [(PUBLIC, 443)]
            assert asked == ["files.example"]
            assert server.requests[0].headers["host"] == "files.example"
            await expect_refusal(Fetcher().fetch("https://files.example/"), "public address")
            assert net.connected == [(PUBLIC, 443)]

    run(work)


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["::ffff:127.0.0.1", PUBLIC], ["2606:4700::1", "::1"]],
)
def test_one_private_address_spoils_the_name(addresses: list[str]) -> None:
    async def work(net: Net) -> None:
        net.names["files.example"] = [addresses]
        refusal = "http://files.example:80 is not at a public address"
        await expect_refusal(Fetcher().fetch("http://files.example/"), refusal)
        assert net.connected == []

    run(work)


def test_each_redirect_is_looked_up_and_checked_anew() -> None:
    async def work(net: Net) -> None:
        scripts = redirecting("http://cdn.example/"), redirecting("http://inside.example/")
        async with ScriptedServer(*scripts) as server:
            net.routes[PUBLIC, 80] = net.routes["127.0.0.1", 80] = server.port
            net.names |= {"files.example": [[PUBLIC]], "cdn.example": [[PUBLIC]]}
            net.names["inside.example"] = [["127.0.0.1"]]
            fetching = Fetcher().fetch("http://files.example/")
            await expect_refusal(fetching, "http://inside.example:80 is not at a public address")
            assert net.connected == [(PUBLIC, 80)] * 2
            hosts = [request.headers["host"] for request in server.requests]
            assert hosts == ["files.example", "cdn.example"]

    run(work)


def test_an_allowed_name_may_be_inside_and_leads_no_further() -> None:
    async def work(net: Net) -> None:
        async with ScriptedServer(redirecting("http://other.example:8080/"), FILE) as server:
            net.routes["10.0.0.1", 8080] = net.routes["10.0.0.1", 80] = server.port
            net.names = {name: [["10.0.0.1"]] * 3 for name in ("files.example", "other.example")}
            url = "http://files.example:8080/"
            fetcher = Fetcher(allow=frozenset({"files.example:8080"}))
            await expect_refusal(fetcher.fetch(url), "http://other.example:8080 is not at port")
            assert (await fetcher.fetch(url)).data == PNG
            await expect_refusal(fetcher.fetch("http://files.example/"), "public address")

    run(work)


async def test_a_certificate_for_another_name(ca: trustme.CA, trusting: None) -> None:
    tls = build_server_tls(ca, "other.example", [])
    async with ScriptedServer(FILE, tls=tls) as server:
        fetcher = Fetcher(allow=frozenset({f"127.0.0.1:{server.port}"}))
        await expect_refusal(fetcher.fetch(server.url), "certificate is refused")
        assert server.requests == []


async def test_a_certificate_of_another_authority(ca: trustme.CA) -> None:
    async with ScriptedServer(FILE, tls=build_server_tls(ca, "127.0.0.1", [])) as server:
        fetcher = Fetcher(allow=frozenset({f"127.0.0.1:{server.port}"}))
        await expect_refusal(fetcher.fetch(server.url), "certificate is refused")
        assert server.requests == []


async def test_files_over_tls(ca: trustme.CA, trusting: None) -> None:
    async with ScriptedServer(FILE, tls=build_server_tls(ca, "127.0.0.1", [])) as server:
        fetcher = Fetcher(allow=frozenset({f"127.0.0.1:{server.port}"}))
        assert (await fetcher.fetch(server.url)).data == PNG
        assert (await fetcher.fetch(server.url)).data == PNG


def test_a_host_that_is_not_there() -> None:
    async def work(net: Net) -> None:
        net.names["files.example"] = [[PUBLIC]]
        await expect_refusal(Fetcher().fetch("http://files.example/"), "network is unreachable")
        await expect_refusal(Fetcher().fetch("http://nowhere.example/"), "name is not known")

    run(work)


HOSTS = st.sampled_from(["127.0.0.1", "[::1]", "0x7f.1", PUBLIC, "files.example", "[v1.a]", "x..y"])
NETLOCS = HOSTS | st.text(st.characters()) | st.text("0123456789.:[]@%x", max_size=12)
SCHEMES = st.sampled_from(["http://", "https://", "HTTP://", "http:", "http:\\\\", "//", "ftp://"])
URLS = st.builds("".join, st.tuples(SCHEMES, NETLOCS, st.text("/:@?#\\", max_size=2), st.text()))


@pytest.fixture(scope="module")
def fetcher() -> Fetcher:
    return Fetcher()


@given(url=st.text(st.characters()) | URLS)
def test_no_url_does_more_than_be_refused(fetcher: Fetcher, url: str) -> None:
    async def work(_: Net) -> None:
        with pytest.raises(GatewayError) as caught:
            await fetcher.fetch(f"{url}?{CANARY}")
        assert caught.value.code == "invalid_request"
        assert CANARY not in caught.value.message

    run(work)
