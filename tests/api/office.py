"""The admin API behind either door, on a real store, with keys that are looked up each time."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
import uvicorn

from gateway import Door
from trunkline.access.credential import read_key
from trunkline.access.grant import Grant
from trunkline.access.key import NewKey, create_key
from trunkline.access.memory import Freshness
from trunkline.access.roster import Roster
from trunkline.access.verifier import Verifier
from trunkline.api.admin_route import AdminDesk
from trunkline.api.direct import DirectProtocol
from trunkline.api.route import list_prefixes
from trunkline.api.site import Health, Site
from trunkline.app import Gateway
from trunkline.errors import GatewayError
from trunkline.exchange import Exchange
from trunkline.store.key import Key
from trunkline.store.store import Store, open_store

PEPPER = bytes(range(32))
HOME = "home"
CANARY = "canary of the report"


def read_clock() -> int:
    return time.time_ns() // 1000


class NoRelay:
    """Stands where inference would be: these tests make no such call."""

    async def handle(self, exchange: Exchange, form: object) -> None:
        raise AssertionError


@dataclass
class Office:
    """A gateway whose admin API answers at ``url``."""

    folder: Path
    store: Store
    client: httpx.Client
    admin: str
    admin_key: Key
    member: str
    member_key: Key
    url: str = ""
    reported: list[Mapping[str, str]] = field(default_factory=list)

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = "", **more: Any
    ) -> httpx.Response:
        """Send a request, as the admin unless another key or None is given."""
        headers = {} if key is None else {"x-api-key": key or self.admin}
        if body is not None:
            more["content"] = json.dumps(body)
            headers["content-type"] = "application/json"
        headers.update(more.pop("headers", {}))
        return self.client.request(method, self.url + path, headers=headers, **more)

    def send_raw(
        self, method: str, target: str, headers: Mapping[str, str] = {}
    ) -> tuple[int, str]:
        """Send a request with exactly this target; returns the status and the body."""
        link = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=20)
        link.putrequest(method, target)
        for name, value in {"x-api-key": self.admin, **headers}.items():
            link.putheader(name, value)
        link.endheaders()
        answer = link.getresponse()
        status, body = answer.status, answer.read().decode()
        link.close()
        return status, body

    def make_key(self, **wish: Any) -> tuple[str, Key]:
        """A key made behind the API's back."""
        new = NewKey(**{"account_id": HOME, **wish})
        return create_key(self.store, PEPPER, new, read_clock())


@contextmanager
def run_office(folder: Path, client: httpx.Client, door: Door) -> Iterator[Office]:
    """Serve the admin API on a store in this folder until the block ends."""
    store = open_store(folder / "trunkline.db")
    store.accounts.create(HOME, "", read_clock())
    admin, admin_key = create_key(store, PEPPER, NewKey(account_id=HOME, role="admin"), 1)
    member, member_key = create_key(store, PEPPER, NewKey(account_id=HOME), 2)
    office = Office(folder, store, client, admin, admin_key, member, member_key)
    config = uvicorn.Config(
        partial(build_front, office),
        factory=True,
        http=DirectProtocol if door == "direct" else "httptools",
        loop="uvloop",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            give_up_s = time.monotonic() + 20
            while not server.started:
                assert time.monotonic() < give_up_s, "the gateway did not start"
                time.sleep(0.01)
            office.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield office
        finally:
            server.should_exit = True
            thread.join(30)
            store.close()


def build_front(office: Office) -> Gateway:
    """The ASGI application, with its prefixes, as the composition root puts it together."""
    verifier = Verifier(office.store, PEPPER, freshness=Freshness(fresh_s=0))

    async def admit(headers: dict[bytes, bytes]) -> Grant:
        return await verifier.verify(
            read_key(headers.get(b"x-api-key"), headers.get(b"authorization"))
        )

    def report(query: Mapping[str, str]) -> tuple[bytes, str]:
        if query.get("since") == "broken":
            raise RuntimeError(CANARY)
        if "since" not in query:
            raise GatewayError("invalid_request", "Say since when.", param="since")
        office.reported.append(query)
        return b"day,calls\n2027-01-31,1\n", "text/csv"

    def make_roster(actor: str) -> Roster:
        return Roster(office.store, PEPPER, actor, read_clock)

    async def probe() -> Health:
        return Health()

    desk = AdminDesk(admit, office.store, make_roster, report, read_clock)
    site = Site(admit, list, probe, desk)
    return Gateway(cast("Any", NoRelay()), site, list_prefixes("llm/gate"), [], [verifier.close])
