"""What the admin API keeps to itself, how soon a stop counts, and what it does without a store."""

import ast
import inspect
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hmac import compare_digest
from types import ModuleType

import httpx
import pytest

from api.office import HOME, PEPPER, Office, run_office
from gateway import Door
from trunkline.access import verifier
from trunkline.access.key import KEY_BYTES_LIMIT, hash_key

A = "/admin/v1/accounts"
K = "/admin/v1/keys"


@pytest.fixture
def office(tmp_path_factory: pytest.TempPathFactory, client: httpx.Client) -> Iterator[Office]:
    door: Door = "direct"
    with run_office(tmp_path_factory.mktemp("office"), client, door) as running:
        yield running


def test_the_text_of_a_key_is_told_once(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    made = office.ask("POST", K, {"account_id": HOME, "name": "secret", "role": "admin"}).json()
    second = office.ask("POST", f"{K}/{made['id']}/rotate", {"overlap_s": 60}).json()
    assert made["key"] != second["key"]
    texts = [made["key"], second["key"], office.admin]
    hashes = [hash_key(PEPPER, text.encode()).hex() for text in texts]
    asked = [
        office.ask("GET", K),
        office.ask("GET", A),
        office.ask("GET", "/admin/v1/audit"),
        office.ask("GET", f"{K}/{made['id']}"),
        office.ask("PATCH", f"{K}/{made['id']}", {"name": "still secret"}),
        office.ask("POST", f"{K}/{made['id']}/rotate"),
        office.ask("DELETE", f"{K}/{made['id']}"),
        office.ask("GET", f"{K}/{made['key']}"),
        office.ask("PATCH", f"{K}/{made['key']}", {"name": "x"}),
        office.ask("DELETE", f"{K}/{made['key']}"),
        office.ask("POST", f"{K}/{made['key']}/rotate"),
        office.ask("GET", f"{K}?after={made['key']}"),
        office.ask("GET", f"/admin/v1/audit?subject_id={made['key']}"),
        office.ask("PATCH", f"{K}/{second['id']}", {made["id"]: made["key"]}),
        office.ask("GET", K, key=made["key"]),
    ]
    assert {response.status_code for response in asked} == {200, 400, 401, 404, 422}
    told = "".join(response.text + str(response.headers) for response in asked)
    ours = [each for each in caplog.records if each.name.startswith("trunkline")]
    told += "".join(caplog.handler.format(each) for each in ours)
    for secret in (*texts, *(text[11:] for text in texts), *hashes):
        assert secret not in told
    assert "secret" in told
    # Nor does the database hold one.
    office.store.close()
    files = [path for path in office.folder.iterdir() if path.is_file()]
    assert files
    for path in files:
        for text in texts:
            assert text.encode() not in path.read_bytes()


def test_a_stopped_key_cannot_be_used_again(office: Office) -> None:
    office.ask("POST", A, {"id": "closed"})
    for how in ("revoke", "rotate", "suspend", "expire"):
        made = office.ask("POST", K, {"account_id": "closed", "role": "admin"}).json()
        path, text = f"{K}/{made['id']}", made["key"]
        assert office.ask("GET", path, key=text).status_code == 200
        if how == "revoke":
            # By itself: its own revocation is the last thing that it does.
            assert office.ask("DELETE", path, key=text).status_code == 200
        elif how == "rotate":
            assert office.ask("POST", f"{path}/rotate", key=text).status_code == 201
        elif how == "expire":
            with sqlite3.connect(office.folder / "trunkline.db") as base:
                base.execute("UPDATE keys SET expires_at_us = 1 WHERE id = ?", (made["id"],))
            base.close()
        else:
            suspend = {"status": "suspended"}
            assert office.ask("PATCH", f"{A}/closed", suspend, key=text).status_code == 200
        for method, target in (("GET", path), ("DELETE", path), ("POST", K), ("PATCH", path)):
            assert office.ask(method, target, {}, key=text).status_code == 401, how
        if how == "suspend":
            assert office.ask("PATCH", f"{A}/closed", {"status": "active"}).status_code == 200
            assert office.ask("GET", path, key=text).status_code == 200


def test_a_revoked_key_does_not_come_back(office: Office) -> None:
    text, key = office.make_key(role="admin")
    path = f"{K}/{key.id}"
    office.ask("DELETE", path)
    for body in ({"name": "x"}, {"expires_at": None}, {"limits": None}):
        assert office.ask("PATCH", path, body).status_code == 400
    assert office.ask("POST", f"{path}/rotate").status_code == 400
    assert office.ask("GET", path, key=text).status_code == 401
    assert office.ask("GET", path).json()["state"] == "revoked"


def test_changes_at_the_same_time_all_count(office: Office) -> None:
    path = f"{K}/{office.member_key.id}"
    parts = [
        {"limits": {"rpm": 1}},
        {"limits": {"tpm": 2}},
        {"limits": {"concurrent": 3}},
        {"budgets": [{"period": "day", "tokens": 4}]},
        {"name": "five"},
    ]
    for target in (path, f"{A}/{HOME}"):
        with ThreadPoolExecutor(len(parts)) as pool:
            answers = list(pool.map(lambda part: office.ask("PATCH", target, part), parts))  # noqa: B023
        assert {answer.status_code for answer in answers} == {200}
        now = office.ask("GET", target).json()
        assert now["limits"] == {"rpm": 1, "tpm": 2, "concurrent": 3}
        assert (now["budgets"], now["name"]) == ([{"period": "day", "tokens": 4}], "five")


def test_without_the_database_it_says_so(office: Office) -> None:
    assert office.ask("GET", A).status_code == 200
    with office.store.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE accounts RENAME TO hidden")
    for method, path, body in (
        ("GET", A, None),
        ("POST", A, {"id": "x"}),
        ("PATCH", f"{A}/{HOME}", {"name": "x"}),
        ("GET", K, None),
        ("POST", K, {"account_id": HOME}),
    ):
        response = office.ask(method, path, body)
        assert response.status_code == 503, response.text
        assert response.json()["error"]["code"] == "overloaded"
        assert response.headers["retry-after"] == "1"
        assert "hidden" not in response.text
        assert "accounts" not in response.text
    with office.store.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE hidden RENAME TO accounts")
    assert office.ask("GET", A).status_code == 200


def list_compared(module: ModuleType) -> set[str]:
    """The source of all that a module compares by its value."""
    by_value = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
    return {
        ast.unparse(side)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], by_value)
        for side in (node.left, *node.comparators)
    }


def test_keys_are_compared_in_constant_time_as_digests_of_one_length() -> None:
    """What decides is ``compare_digest`` on HMACs, whose pepper no caller knows."""
    lookup = inspect.getsource(verifier.Verifier._look_up_keys)
    assert "compare_digest(match.hash, digest)" in lookup
    assert vars(verifier)["compare_digest"] is compare_digest
    assert "len(key)" in list_compared(verifier)
    words = {"key", "digest", "match.hash", "text", "hash", "entry.hash"}
    assert list_compared(verifier) & words == set()
    lengths = {len(hash_key(PEPPER, b"x" * length)) for length in (0, 1, 46, KEY_BYTES_LIMIT)}
    assert lengths == {32}
