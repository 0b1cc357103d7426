"""The admin API under attack, behind both doors: nobody but an admin gets anything from it."""

import http.client
import json
import logging
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from api.office import CANARY, HOME, PEPPER, Office, run_office
from gateway import Door
from trunkline.access.key import hash_key
from trunkline.api.admin import ADMIN
from trunkline.api.admin_route import BODY_LIMIT_BYTES
from trunkline.errors import KINDS

A = "/admin/v1/accounts"
K = "/admin/v1/keys"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
OPERATIONS = [
    (operation.method, path) for path, operations in ADMIN.items() for operation in operations
]


@pytest.fixture(scope="module")
def office(
    tmp_path_factory: pytest.TempPathFactory, client: httpx.Client, door: Door
) -> Iterator[Office]:
    with run_office(tmp_path_factory.mktemp("office"), client, door) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_changes(office: Office, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever an attack did: no account, no key and no entry is new or different after it."""
    caplog.set_level(logging.DEBUG)
    before = see(office)
    yield
    assert see(office) == before
    ours = [each for each in caplog.records if each.name.startswith("trunkline")]
    said = str([caplog.handler.format(each) for each in ours])
    assert office.admin not in said
    assert office.member not in said


def see(office: Office) -> tuple[Any, Any, Any]:
    keys = [msgspec.structs.replace(key, last_used_at_us=None) for key in office.store.keys.list()]
    return office.store.accounts.list(), keys, office.store.audit.list()


def refused(response: httpx.Response, code: str) -> None:
    assert response.status_code == KINDS[code].status, response.text  # type: ignore[index]
    assert response.headers["x-request-id"].startswith("req_")
    assert not {name for name in response.headers if name.startswith("access-control")}
    if response.request.method != "HEAD":
        assert response.json()["error"]["code"] == code
        assert response.json()["request_id"] == response.headers["x-request-id"]


def fill(office: Office, path: str) -> str:
    return path.format(account_id=HOME, key_id=office.member_key.id)


def test_the_list_of_routes_is_the_one_that_is_documented() -> None:
    assert OPERATIONS == [
        ("GET", A),
        ("POST", A),
        ("GET", A + "/{account_id}"),
        ("PATCH", A + "/{account_id}"),
        ("GET", K),
        ("POST", K),
        ("GET", K + "/{key_id}"),
        ("PATCH", K + "/{key_id}"),
        ("DELETE", K + "/{key_id}"),
        ("POST", K + "/{key_id}/rotate"),
        ("GET", "/admin/v1/audit"),
        ("GET", "/admin/v1/usage"),
        ("GET", "/admin/v1/targets"),
    ]


@pytest.mark.parametrize("path", ADMIN)
@pytest.mark.parametrize("prefix", ["", "/llm/gate/public"])
def test_members_and_strangers_get_nothing(office: Office, path: str, prefix: str) -> None:
    target = prefix + fill(office, path)
    for method in METHODS:
        body = {"id": "new", "account_id": HOME, "name": "taken over"}
        refused(office.ask(method, target, body, key=office.member), "permission_denied")
        refused(office.ask(method, target, body, key=None), "invalid_api_key")
        refused(office.ask(method, target, key="tl-unknown"), "invalid_api_key")


@pytest.mark.parametrize("path", ADMIN)
def test_a_member_does_not_get_further_with_headers(office: Office, path: str) -> None:
    tricks = [
        {"x-selected-account-id": "default"},
        {"x-http-method-override": "GET", "x-method-override": "GET", "x-http-method": "GET"},
        {"x-original-url": "/livez", "x-rewrite-url": "/livez"},
        {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1", "forwarded": "for=127.0.0.1"},
        {"x-role": "admin", "cookie": "role=admin", "x-user": "admin"},
        {"authorization": f"Bearer {office.admin}"},  # x-api-key decides
    ]
    for headers in tricks:
        for method in ("GET", "POST"):
            response = office.ask(method, fill(office, path), key=office.member, headers=headers)
            refused(response, "permission_denied")


def list_false_keys(office: Office) -> list[str | bytes]:
    key = office.admin
    return [
        key[:-1],
        key[:11],
        key + "A",
        key.lower(),
        key.upper(),
        key[3:],
        f'"{key}"',
        key.replace("tl-", "tl_"),
        office.admin_key.prefix,
        office.admin_key.id,
        hash_key(PEPPER, key.encode()).hex(),
        "' OR '1'='1",
        "' OR 1=1 --",
        "x' UNION SELECT * FROM keys --",
        "tl-%",
        "tl-___________________________________________",
        "*",
        "null",
        "",
        "x" * 50_000,
        "é".encode(),
        b"\xff\xfe",
    ]


def test_what_is_no_key_opens_nothing(office: Office) -> None:
    for false in list_false_keys(office):
        text = false if isinstance(false, bytes) else false.encode()
        for header in ({b"x-api-key": text}, {b"authorization": b"Bearer %b" % (text or b"x")}):
            response = office.client.get(office.url + K, headers=header)
            refused(response, "invalid_api_key")
            assert len(text) < 5 or text not in response.content


def test_a_key_in_the_address_is_no_key(office: Office) -> None:
    for query in ("api_key", "key", "x-api-key", "token", "access_token"):
        response = office.ask("GET", f"{K}?{query}={office.admin}", key=None)
        refused(response, "invalid_api_key")
        assert office.admin not in response.text
        # Nor is it repeated to one who may.
        response = office.ask("GET", f"{K}?limit={office.admin}")
        refused(response, "validation_error")
        assert office.admin not in response.text
    response = office.ask("GET", f"{K}/{office.admin}")
    refused(response, "route_not_found")
    assert office.admin not in response.text


@pytest.mark.parametrize(
    "field",
    ["role", "account_id", "id", "prefix", "hash", "key", "state", "revoked_at", "created_at",
     "subject_id", "last_used_at", "terms", "__class__", "constructor"],
)  # fmt: skip
def test_role_account_and_the_like_cannot_be_changed(office: Office, field: str) -> None:
    values: list[Any] = ["admin", HOME, None, {}, 1]
    for value in values:
        body = {field: value, "name": "taken over"}
        response = office.ask("PATCH", f"{K}/{office.member_key.id}", body)
        refused(response, "validation_error")
        assert [fault["loc"] for fault in response.json()["detail"]] == [["body", field]]
        assert response.json()["error"]["param"] == field
        response = office.ask("PATCH", f"{A}/{HOME}", body)
        refused(response, "validation_error")
        refused(
            office.ask("PATCH", f"{K}/{office.member_key.id}", body, key=office.member),
            "permission_denied",
        )


def test_a_field_that_is_there_twice_cannot_hide_one(office: Office) -> None:
    for text in ('{"name": "a", "role": "admin", "name": "b"}', '{"role": "admin", "role": null}'):
        response = office.ask(
            "PATCH",
            f"{K}/{office.member_key.id}",
            content=text,
            headers={"content-type": "application/json"},
        )
        refused(response, "validation_error")


@pytest.mark.parametrize(
    "target",
    [
        "//admin/v1/keys",
        "/admin//v1/keys",
        "/admin/v1//keys",
        "/admin/v1/keys/",
        "/admin/v1/keys//",
        "/admin/v1/keys/../accounts",
        "/admin/v1/./keys",
        "/admin/v1/keys/%2e%2e/accounts",
        "/livez/../admin/v1/keys",
        "/ADMIN/v1/keys",
        "/admin/V1/keys",
        "/admin/v1/Keys",
        "/%61dmin/v1/keys",
        "/admin%2Fv1%2Fkeys",
        "/admin/v1%2Fkeys",
        "/admin/v1/%6Beys",
        "/admin/v1/keys%20",
        "/admin/v1/keys%00",
        "/admin/v1/keys;x=1",
        "/admin/v1/keys.json",
        "/admin\\v1\\keys",
        "/public/public/admin/v1/keys",
        "/public//admin/v1/keys",
        "/x/admin/v1/keys",
        "/x%2Fadmin/v1/keys",
        "/admin",
        "/admin/v1",
        "/admin/v1/",
        "/admin/v1/accounts/a/b",
        "/admin/v1/accounts/",
        "/admin/v1/accounts/%ff",
        "/admin/v1/audit/x",
        "/admin/v1/keys/x/rotate/",
        "/admin/v1/keys/x%2Frotate/y",
        "/admin/v2/keys",
    ],
)
def test_only_the_path_itself_leads_there(office: Office, target: str) -> None:
    """Even for an admin, so that a proxy that guards ``/admin`` guards all of it."""
    for method in ("GET", "POST", "DELETE"):
        status, body = office.send_raw(method, target)
        assert status == 404
        assert json.loads(body)["error"]["code"] == "route_not_found"


def test_the_same_paths_as_the_doors_see_them_when_they_are_right(office: Office) -> None:
    for target in (K, f"/public{K}", f"http://elsewhere{K}", f"{K}?limit=5", f"{A}/{HOME}"):
        assert office.send_raw("GET", target)[0] == 200
        status, body = office.send_raw("GET", target, {"x-api-key": office.member})
        assert (status, json.loads(body)["error"]["code"]) == (403, "permission_denied")


def test_other_methods_are_named_and_heads_have_no_body(office: Office) -> None:
    for path, operations in ADMIN.items():
        taken = [operation.method for operation in operations]
        for method in METHODS:
            if method in taken or (method == "HEAD" and "GET" in taken):
                continue
            response = office.ask(method, fill(office, path))
            refused(response, "method_not_allowed")
            assert response.headers["allow"] == ", ".join(taken)
    head = office.ask("HEAD", A)
    whole = office.ask("GET", A)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


def test_a_method_cannot_be_overridden(office: Office) -> None:
    headers = {"x-http-method-override": "DELETE", "x-method-override": "DELETE"}
    path = f"{K}/{office.member_key.id}"
    assert office.ask("GET", path, headers=headers).status_code == 200
    refused(office.ask("POST", path, {"_method": "DELETE"}), "method_not_allowed")
    refused(office.ask("GET", f"{A}?_method=DELETE", headers=headers), "validation_error")


@pytest.mark.parametrize("path", [A, K])
def test_a_large_body_is_refused(office: Office, path: str) -> None:
    blank = b"{" + b" " * BODY_LIMIT_BYTES + b"}"
    headers = {"content-type": "application/json"}
    refused(office.ask("POST", path, content=blank, headers=headers), "request_too_large")
    pieces = (blank[start : start + 999] for start in range(0, len(blank), 999))
    refused(office.ask("POST", path, content=pieces, headers=headers), "request_too_large")
    just = b"{" + b" " * (BODY_LIMIT_BYTES - 2) + b"}"
    refused(office.ask("POST", path, content=just, headers=headers), "validation_error")


def test_the_body_of_a_member_is_not_waited_for(office: Office) -> None:
    for key, status in ((office.member, 403), ("tl-unknown", 401)):
        link = http.client.HTTPConnection(office.url.removeprefix("http://"), timeout=20)
        link.putrequest("POST", K)
        link.putheader("x-api-key", key)
        link.putheader("content-type", "application/json")
        link.putheader("content-length", "10000000000")
        link.endheaders(b"{")
        assert link.getresponse().status == status
        link.close()


def test_a_client_that_leaves_in_the_middle_changes_nothing(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = office.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as link:
        head = f"POST {A} HTTP/1.1\r\nhost: x\r\nx-api-key: {office.admin}\r\n"
        link.sendall(
            f"{head}content-type: application/json\r\ncontent-length: 99\r\n\r\n{{".encode()
        )
    assert office.ask("GET", A).status_code == 200
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"limits":' * 6_000,
        b'{"name":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"limits":{"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}}",
        b"NaN",
        b'{"id": NaN}',
        b'{"id": "\xff"}',
        b'{"id": "\\ud800"}',
        b'{"id": "a"}{}',
        b"",
        b"null",
        b'"text"',
        b"\x1f\x8b\x08\x00",
        b"id=a&name=b",
        b"<id>a</id>",
    ],
)
def test_what_is_no_json_object_is_422(office: Office, body: bytes) -> None:
    for method, path in (("POST", A), ("PATCH", f"{A}/{HOME}"), ("POST", K)):
        headers = {"content-type": "application/json"}
        response = office.ask(method, path, content=body, headers=headers)
        refused(response, "validation_error")
        assert len(response.content) < 5_000


@pytest.mark.parametrize(
    "media",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/xml", "application/jsonp", "text/json", "application/x-json"],
)  # fmt: skip
def test_another_content_type_is_refused(office: Office, media: str) -> None:
    """A page in a browser may send these to another site unasked; JSON it may not."""
    headers = {"content-type": media} if media else {}
    body = json.dumps({"id": "by a form"}).encode()
    for path in (A, f"{K}/{office.member_key.id}/rotate"):
        response = office.ask("POST", path, content=body, headers=headers)
        refused(response, "invalid_request")
        assert response.json()["error"]["param"] == "content-type"


def test_a_page_elsewhere_gets_no_leave(office: Office) -> None:
    headers = {
        "origin": "https://evil.example",
        "access-control-request-method": "DELETE",
        "access-control-request-headers": "x-api-key",
    }
    for path in ADMIN:
        refused(
            office.ask("OPTIONS", fill(office, path), key=None, headers=headers), "invalid_api_key"
        )
        refused(office.ask("OPTIONS", fill(office, path), headers=headers), "method_not_allowed")


def test_what_fails_inside_shows_its_id_only(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    response = office.ask("GET", "/admin/v1/usage?since=broken")
    refused(response, "internal_error")
    assert CANARY not in response.text
    assert response.headers["x-request-id"] in caplog.text
    assert response.headers["x-should-retry"] == "false"
