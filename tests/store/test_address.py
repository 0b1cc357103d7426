"""The store's URL: what is one, and that its secrets are never shown."""

from pathlib import Path

import pytest

from trunkline.store.address import (
    check_url,
    holds_password,
    locate_store,
    mask_url,
)

SERVERS = [
    ("postgresql://me:canary@db/trunkline", "postgresql://me@db/trunkline"),
    ("postgres://me:canary@db:5432/trunkline", "postgresql://me@db:5432/trunkline"),
    ("postgresql://me@db/a?password=canary&sslmode=require", "postgresql://me@db/a"),
    ("postgresql://me:ca%40%2F:nary@db/trunkline", "postgresql://me@db/trunkline"),
    ("postgresql://db/trunkline", "postgresql://db/trunkline"),
    ("postgresql://[::1]:5433/a", "postgresql://[::1]:5433/a"),
    ("postgresql://me:canary@h1:1,h2,[::1]:2/a", "postgresql://me@h1:1,h2,[::1]:2/a"),
    ("postgresql:///a?host=/var/run/postgresql", "postgresql:///a"),
    ("postgresql://%2Fvar%2Frun/a", "postgresql://%2Fvar%2Frun/a"),
    ("postgresql://h/a?options=-csearch_path%3Dcanary", "postgresql://h/a"),
]
MISTAKES = [
    "",
    "SQLite",
    "sqlite:///canary.db",
    "mysql://me:canary@db/trunkline",
    "postgresql+psycopg://me:canary@db/trunkline",
    "postgresql://me:canary@db",
    "postgresql://me:canary@db/",
    "postgresql://me:can@ary@db/trunkline",  # the library would look for the host ary@db
    "postgresql://me:can/ary@db/trunkline",  # and here for the port can
    "postgresql://me:can?ary@db/trunkline",
    "postgresql://me:can#ary@db/trunkline",
    "postgresql://me:can%ary@db/trunkline",
    "postgresql://me:canary%00@db/trunkline",
    "postgresql://me:canary@db:port/trunkline",
    "postgresql://me:canary@db/trunkline?canary",
    "postgresql://me:canary@db/trunkline?a=b=c",
    "postgresql://me:canary@db/trunkline#x",
    "postgresql://me:canary@db/trunkline\n",
    "canary",
]


@pytest.mark.parametrize(("url", "shown"), SERVERS)
def test_a_server_is_shown_without_its_secrets(url: str, shown: str) -> None:
    check_url(url)
    assert mask_url(url) == shown
    assert locate_store(url, Path("data")) == url


@pytest.mark.parametrize("url", MISTAKES)
def test_a_mistake_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match='expected "sqlite" or "postgresql://') as caught:
        locate_store(url, Path("data"))
    assert "canary" not in str(caught.value)
    assert "canary" not in mask_url(url)


def test_sqlite_is_a_file_in_the_data_folder() -> None:
    assert locate_store("sqlite", Path("data")) == Path("data/trunkline.db")


@pytest.mark.parametrize(
    ("url", "held"),
    [
        ("sqlite", False),
        ("postgresql://me@db/a", False),
        ("postgresql://me:@db/a", False),
        ("postgresql://me:x@db/a", True),
        ("postgresql://me@db/a?password=x", True),
        ("postgresql://me@db/a?sslmode=require&sslpassword=x", True),
    ],
)
def test_a_password_in_the_url_is_noticed(url: str, held: bool) -> None:
    assert holds_password(url) is held
