"""The admin API at work: accounts, keys, their terms, pages, and what the audit says."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from api.office import HOME, Office, run_office
from gateway import Door
from trunkline.errors import KINDS

A = "/admin/v1/accounts"
K = "/admin/v1/keys"
NO_LIMITS = {"rpm": None, "tpm": None, "concurrent": None}


@pytest.fixture(scope="module")
def office(
    tmp_path_factory: pytest.TempPathFactory, client: httpx.Client, door: Door
) -> Iterator[Office]:
    with run_office(tmp_path_factory.mktemp("office"), client, door) as running:
        yield running


def good(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-request-id"].startswith("req_")
    value: dict[str, Any] = response.json()
    return value


def bad(response: httpx.Response, code: str) -> dict[str, Any]:
    value: dict[str, Any] = response.json()
    assert value["error"]["code"] == code, response.text
    assert response.status_code == KINDS[code].status  # type: ignore[index]
    assert value["request_id"] == response.headers["x-request-id"]
    return value


def test_an_account_is_created_shown_and_changed(office: Office) -> None:
    terms = {
        "limits": {"rpm": 60, "concurrent": 4},
        "budgets": [{"period": "month", "usd": "12.5"}, {"period": "day", "tokens": 100000}],
        "leaving": "drain",
        "over_budget": "clamp",
        "share": 5,
        "priority": "high",
    }
    made = good(office.ask("POST", A, {"id": "team a", "name": "The A team", **terms}), 201)
    assert made.pop("created_at").endswith("Z")
    assert made == {
        "id": "team a",
        "name": "The A team",
        "status": "active",
        "limits": {"rpm": 60, "tpm": None, "concurrent": 4},
        "budgets": [{"period": "month", "usd": "12.50"}, {"period": "day", "tokens": 100000}],
        "leaving": "drain",
        "over_budget": "clamp",
        "share": 5,
        "priority": "high",
    }
    changed = good(office.ask("PATCH", f"{A}/team%20a", {"status": "suspended", "name": ""}))
    created_at = changed.pop("created_at")
    assert changed == {**made, "status": "suspended", "name": ""}
    shown = good(office.ask("GET", f"{A}/team%20a"))
    assert shown == {**changed, "created_at": created_at}


@pytest.mark.parametrize(
    "account_id", ["a/b", "a/b/../c", "..", "100%", "a%2Fb", "a?b#c", "ä ö", "'; --", "keys"]
)
def test_any_text_is_an_id_under_every_prefix(office: Office, account_id: str) -> None:
    good(office.ask("POST", A, {"id": account_id}), 201)
    path = "".join(f"%{byte:02x}" for byte in account_id.encode())
    for prefix in ("", "/public", "/llm/gate", "/llm/gate/public"):
        status, body = office.send_raw("GET", f"{prefix}{A}/{path}")
        assert (status, account_id in httpx.Response(200, text=body).json()["id"]) == (200, True)


def test_terms_change_in_part_and_null_removes(office: Office) -> None:
    good(office.ask("POST", A, {"id": "part", "limits": {"rpm": 1, "tpm": 2}}), 201)
    path = f"{A}/part"
    steps: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"limits": {"tpm": None, "concurrent": 3}}, {"rpm": 1, "tpm": None, "concurrent": 3}),
        ({"budgets": [{"period": "total", "usd": "0"}]}, {"rpm": 1, "tpm": None, "concurrent": 3}),
        ({"share": 2, "priority": "low"}, {"rpm": 1, "tpm": None, "concurrent": 3}),
        ({"leaving": "drain"}, {"rpm": 1, "tpm": None, "concurrent": 3}),
        ({}, {"rpm": 1, "tpm": None, "concurrent": 3}),
        ({"limits": {}}, {"rpm": 1, "tpm": None, "concurrent": 3}),
        ({"limits": None}, NO_LIMITS),
    ]
    for body, limits in steps:
        account = good(office.ask("PATCH", path, body))
        assert account["limits"] == limits
    assert account["budgets"] == [{"period": "total", "usd": "0.00"}]
    assert account["leaving"] == "drain"
    assert (account["share"], account["priority"]) == (2, "low")
    assert good(office.ask("PATCH", path, {"budgets": None}))["budgets"] == []


@pytest.mark.parametrize(
    ("usd", "micros", "shown"),
    [
        ("0.000001", 1, "0.000001"),
        ("0.1", 100_000, "0.10"),
        ("1000000000", 10**15, "1000000000.00"),
        ("007.10", 7_100_000, "7.10"),
    ],
)
def test_money_is_exact(office: Office, usd: str, micros: int, shown: str) -> None:
    budgets = [{"period": "day", "usd": usd}]
    account = good(office.ask("PATCH", f"{A}/{HOME}", {"budgets": budgets}))
    assert account["budgets"] == [{"period": "day", "usd": shown}]
    found = office.store.accounts.find(HOME)
    assert found
    assert [budget.amount for budget in found.terms.budgets] == [micros]
    good(office.ask("PATCH", f"{A}/{HOME}", {"budgets": None}))


def test_a_key_is_created_shown_changed_and_revoked(office: Office) -> None:
    good(office.ask("POST", A, {"id": "other"}), 201)
    made = good(
        office.ask(
            "POST",
            K,
            {
                "account_id": HOME,
                "name": "ci",
                "models": ["gpt-4o", "local/*"],
                "accounts": ["other"],
                "expires_at": "2199-01-31T18:00:00+01:00",
                "limits": {"rpm": 5},
                "budgets": [{"period": "day", "usd": "0.1"}],
            },
        ),
        201,
    )
    text = made.pop("key")
    assert made["prefix"] == text[:11]
    assert (made["role"], made["state"], made["accounts"]) == ("member", "active", ["other"])
    assert made["expires_at"] == "2199-01-31T17:00:00Z"
    path = f"{K}/{made['id']}"
    assert good(office.ask("GET", path)) == made
    change: dict[str, Any] = {
        "expires_at": None,
        "models": None,
        "accounts": [],
        "budgets": [],
        "name": "cd",
    }
    changed = good(office.ask("PATCH", path, change))
    assert changed == {**made, **change, "limits": {**NO_LIMITS, "rpm": 5}}
    bad(office.ask("GET", K, key=text), "permission_denied")
    revoked = good(office.ask("DELETE", path))
    assert revoked["state"] == "revoked"
    assert good(office.ask("DELETE", path)) == revoked
    assert "revoked" in bad(office.ask("GET", K, key=text), "invalid_api_key")["error"]["message"]
    assert bad(office.ask("PATCH", path, {"name": "x"}), "invalid_request")


def test_a_key_is_rotated_with_an_overlap(office: Office) -> None:
    old, key = office.make_key(name="worn", role="admin")
    new = good(office.ask("POST", f"{K}/{key.id}/rotate", {"overlap_s": 60}), 201)
    assert (new["name"], new["role"]) == ("worn", "admin")
    for text in (old, new["key"]):
        good(office.ask("GET", f"{K}/{key.id}", key=text))
    newest = good(office.ask("POST", f"{K}/{new['id']}/rotate"), 201)
    bad(office.ask("GET", K, key=new["key"]), "invalid_api_key")
    assert good(office.ask("GET", f"{K}/{new['id']}"))["state"] == "expired"
    good(office.ask("GET", K, key=newest["key"]))
    bad(office.ask("POST", f"{K}/{key.id}/rotate", {"overlap_s": -1}), "validation_error")


def test_pages_hold_everything_once(office: Office) -> None:
    for number in range(5):
        good(office.ask("POST", A, {"id": f"page {number}"}), 201)
        office.make_key(account_id="page 0", name=str(number))
    for path in (f"{A}?", f"{K}?account_id=page+0&", "/admin/v1/audit?kind=account&"):
        whole = good(office.ask("GET", f"{path}limit=1000"))
        assert (whole["has_more"], whole["next"]) == (False, None)
        rows, after = [], ""
        while True:
            page = good(office.ask("GET", f"{path}limit=2{after}"))
            rows += page["data"]
            assert page["has_more"] is (page["next"] is not None)
            if not page["has_more"]:
                break
            assert page["next"] == page["data"][-1]["id"]
            assert len(page["data"]) == 2
            after = f"&after={quote(page['next'], safe='')}"
        assert rows == whole["data"]
        assert len(rows) >= 5
        if path.startswith(K):
            assert {key["account_id"] for key in rows} == {"page 0"}


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("_method=DELETE", "_method"),
        ("account_id=a", "account_id"),
    ],
)
def test_a_query_is_closed_too(office: Office, query: str, name: str) -> None:
    failure = bad(office.ask("GET", f"{A}?{query}"), "validation_error")
    assert [fault["loc"] for fault in failure["detail"]] == [["query", name]]
    assert failure["error"]["param"] == name


def test_lists_refuse_what_does_not_exist(office: Office) -> None:
    for path in (A, K, "/admin/v1/audit"):
        failure = bad(office.ask("GET", f"{path}?after=nothing"), "invalid_request")
        assert failure["error"]["param"] == "after"
    failure = bad(office.ask("GET", f"{K}?account_id=nobody"), "invalid_request")
    assert failure["error"]["param"] == "account_id"


def test_what_does_not_exist_is_404(office: Office) -> None:
    for path in (
        f"{A}/nobody",
        f"{A}/%00",
        f"{A}/%20",
        f"{K}/key_0",
        f"{K}/%27%00",
        f"{A}/{'x' * 999}",
    ):
        bad(office.ask("GET", path), "route_not_found")
        bad(office.ask("PATCH", path, {"name": "x"}), "route_not_found")
        bad(office.ask("PATCH", path, {"limits": None}), "route_not_found")
    bad(office.ask("DELETE", f"{K}/key_0"), "route_not_found")
    bad(office.ask("POST", f"{K}/key_0/rotate"), "route_not_found")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (A, {"id": HOME}, "id"),
        (A, {"id": " a"}, None),
        (A, {"id": "a", "name": "\n"}, None),
        (K, {"account_id": "nobody"}, "account_id"),
        (K, {"account_id": HOME, "accounts": ["nobody"]}, "accounts"),
        (K, {"account_id": HOME, "name": "bootstrap"}, None),
        (K, {"account_id": HOME, "models": [""]}, None),
        (K, {"account_id": HOME, "expires_at": "2020-01-31T18:00:00Z"}, None),
    ],
)
def test_what_cannot_be_done_is_400(
    office: Office, path: str, body: dict[str, Any], param: str | None
) -> None:
    failure = bad(office.ask("POST", path, body), "invalid_request")
    assert failure["error"]["param"] == param
    assert failure["error"]["message"][0].isupper()
    assert failure["error"]["message"].endswith(".")


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"limits": {"rpm": 0}}, ["body", "limits", "rpm"]),
        ({"limits": {"rpm": 1.5}}, ["body", "limits", "rpm"]),
        ({"limits": {"rpm": 10**30}}, ["body", "limits", "rpm"]),
        ({"limits": {"rps": 1}}, ["body", "limits", "rps"]),
        ({"budgets": [{"period": "day", "usd": 1.5}]}, ["body", "budgets", 0, "usd"]),
        ({"budgets": [{"period": "day", "usd": "-1"}]}, ["body", "budgets", 0, "usd"]),
        ({"budgets": [{"period": "day", "usd": "1e3"}]}, ["body", "budgets", 0, "usd"]),
        ({"budgets": [{"period": "day", "usd": "0.0000001"}]}, ["body", "budgets", 0, "usd"]),
        ({"budgets": [{"period": "day", "usd": "1\n"}]}, ["body", "budgets", 0]),
        ({"budgets": [{"period": "day"}]}, ["body", "budgets", 0]),
        ({"budgets": [{"period": "day", "usd": "1", "tokens": 1}]}, ["body", "budgets", 0]),
        ({"budgets": [{"period": "week", "usd": "1"}]}, ["body", "budgets", 0, "period"]),
        ({"budgets": [{"usd": "1"}]}, ["body", "budgets", 0, "period"]),
        ({"budgets": [{"period": "day", "usd": "1", "x": 1}]}, ["body", "budgets", 0, "x"]),
        ({"budgets": [{"period": "day", "tokens": 1}] * 2}, ["body", "budgets"]),
        ({"expires_at": "2199-01-31T18:00:00"}, ["body", "expires_at"]),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, ["body", "expires_at"]),
        ({"expires_at": 1_800_000_000}, ["body", "expires_at"]),
        ({"name": None}, ["body", "name"]),
        ({"accounts": None}, ["body", "accounts"]),
        ({"models": "all"}, ["body", "models"]),
        ([], ["body"]),
    ],
)
def test_every_fault_has_its_place(office: Office, body: Any, place: list[Any]) -> None:
    failure = bad(
        office.ask("PATCH", f"{K}/{office.member_key.id}", body),
        "validation_error",
    )
    assert [fault["loc"] for fault in failure["detail"]] == [place]


@pytest.mark.parametrize(
    "body",
    [{"share": 0}, {"share": 1001}, {"share": None}, {"priority": "top"}, {"priority": None}],
)
def test_a_share_and_a_class_have_bounds(office: Office, body: dict[str, Any]) -> None:
    (name,) = body
    for method, path in (("POST", A), ("PATCH", f"{A}/{office.member_key.account_id}")):
        whole = {"id": "bounds", **body} if method == "POST" else body
        failure = bad(office.ask(method, path, whole), "validation_error")
        assert [fault["loc"] for fault in failure["detail"]] == [["body", name]]


def test_several_faults_are_told_at_once(office: Office) -> None:
    body = {"role": "admin", "owner": 1, "name": 5, "limits": {"rpm": 0}}
    failure = bad(office.ask("POST", K, body), "validation_error")
    places = {tuple(fault["loc"]): fault["type"] for fault in failure["detail"]}
    assert places == {
        ("body", "owner"): "extra_forbidden",
        ("body", "account_id"): "missing",
        ("body", "name"): "value_error",
        ("body", "limits", "rpm"): "value_error",
    }


def test_the_audit_names_the_admins_key(office: Office) -> None:
    second, key = office.make_key(role="admin")
    made = good(office.ask("POST", K, {"account_id": HOME, "name": "seen"}, key=second), 201)
    good(office.ask("PATCH", f"{K}/{made['id']}", {"name": "unseen"}))
    good(office.ask("DELETE", f"{K}/{made['id']}"))
    entries = good(office.ask("GET", f"/admin/v1/audit?kind=key&subject_id={made['id']}"))["data"]
    told = [(entry["action"], entry["actor"], entry["kind"]) for entry in entries]
    own = office.admin_key.id
    assert told == [
        ("key.revoke", own, "key"),
        ("key.change", own, "key"),
        ("key.create", key.id, "key"),
    ]
    assert (entries[1]["before"]["name"], entries[1]["after"]["name"]) == ("seen", "unseen")
    assert entries[2]["before"] is None
    assert all(entry["at"].endswith("Z") for entry in entries)


def test_usage_is_the_reports_own_answer(office: Office) -> None:
    response = office.ask("GET", "/public/admin/v1/usage?since=2027-01-01&by=day")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/csv")
    assert response.headers["x-request-id"].startswith("req_")
    assert response.text == "day,calls\n2027-01-31,1\n"
    assert office.reported[-1] == {"since": "2027-01-01", "by": "day"}
    assert bad(office.ask("GET", "/admin/v1/usage"), "invalid_request")["error"]["param"] == "since"
