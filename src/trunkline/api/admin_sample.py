"""Examples of the admin API: requests as an admin would write them, answers as the code writes."""

from typing import Any, Final

import msgspec

from trunkline.api.admin_route import ROOT, Method
from trunkline.api.admin_view import (
    AccountPage,
    AuditPage,
    KeyPage,
    TargetPage,
    TargetView,
    cut_page,
    show_account,
    show_audit,
    show_created,
    show_key,
)
from trunkline.ledger.question import Question
from trunkline.ledger.sheet import Sheet, write_json
from trunkline.store.account import Account
from trunkline.store.audit import AuditEntry
from trunkline.store.key import Key
from trunkline.store.usage import Choice, Share, Sums
from trunkline.terms import AccountTerms, Budget, Limits, Terms

Json = dict[str, Any]

ACCOUNT_ID: Final = "team a"
KEY_ID: Final = "key_5f2b8c1e9d3a7b4c6e0f1a2d"
IDS: Final = {"account_id": ACCOUNT_ID, "key_id": KEY_ID}
"""What the examples put for the parts of a path."""

_NOW_US: Final = 1_795_219_200_000_000
_DAY_US: Final = 86_400_000_000
_MONTH: Final = Budget("usd", "month", 50_000_000)
_DAY: Final = 20_778


class AdminSample(msgspec.Struct, frozen=True):
    """One operation by example: its query, its body if it has one, and its answer."""

    answer: Json
    body: Json | None = None
    query: str = ""


_ACCOUNT: Final = Account(
    id=ACCOUNT_ID,
    name="The A team",
    status="active",
    created_at_us=_NOW_US,
    terms=AccountTerms(limits=Limits(rpm=600), budgets=(_MONTH,)),
)
_KEY: Final = Key(
    id=KEY_ID,
    account_id=ACCOUNT_ID,
    name="nightly job",
    role="member",
    prefix="tl-Xb3kP9qa",
    models=("gpt-4o", "local/*"),
    expires_at_us=None,
    revoked_at_us=None,
    created_at_us=_NOW_US,
    last_used_at_us=None,
    subject_id=KEY_ID,
    terms=Terms(limits=Limits(rpm=60), budgets=(Budget("tokens", "day", 1_000_000),)),
)
_TEXT: Final = "tl-Xb3kP9qa…"
_SUCCESSOR: Final = msgspec.structs.replace(
    _KEY, id="key_c41d7e90a2b35f68d1c0e7b9", prefix="tl-m2Qz7RtL", created_at_us=_NOW_US + _DAY_US
)
_CHANGED: Final = msgspec.structs.replace(
    _KEY, expires_at_us=_NOW_US + 30 * _DAY_US, terms=Terms(budgets=_KEY.terms.budgets)
)
_REVOKED: Final = msgspec.structs.replace(_KEY, revoked_at_us=_NOW_US + _DAY_US)
_ENTRY: Final = AuditEntry(
    id="audit_0b9f6a4e1d7c3b825f60e9a1",
    at_us=_NOW_US,
    actor="key_9a1e3c5d7f2b4a6c8e0d1f3b",
    action="account.change",
    kind="account",
    subject_id=ACCOUNT_ID,
    before={"name": "", "status": "active", "terms": {}},
    after={"name": "The A team", "status": "active", "terms": {}},
)
_SUMS: Final = Sums(calls=1200, failed_calls=3, input_tokens=840_000, output_tokens=96_000,
                    cost_micros=3_060_000)  # fmt: skip
_SHEET: Final = Sheet(
    Question(Choice(since_day=_DAY, until_day=_DAY + 6, account_id=ACCOUNT_ID)),
    [Share(("gpt-4o",), _SUMS)],
    _SUMS,
    {},
)


def _plain(answer: msgspec.Struct) -> Json:
    plain: Json = msgspec.json.decode(msgspec.json.encode(answer))
    return plain


_ONE_ACCOUNT: Final = _plain(show_account(_ACCOUNT))

SAMPLES: Final[dict[tuple[Method, str], AdminSample]] = {
    ("GET", f"{ROOT}/accounts"): AdminSample(
        _plain(AccountPage(*cut_page([_ACCOUNT], 1, show_account))), query="limit=100"
    ),
    ("POST", f"{ROOT}/accounts"): AdminSample(
        _ONE_ACCOUNT,
        {
            "id": ACCOUNT_ID,
            "name": "The A team",
            "limits": {"rpm": 600},
            "budgets": [{"period": "month", "usd": "50"}],
        },
    ),
    ("GET", f"{ROOT}/accounts/{{account_id}}"): AdminSample(_ONE_ACCOUNT),
    ("PATCH", f"{ROOT}/accounts/{{account_id}}"): AdminSample(
        {**_ONE_ACCOUNT, "status": "suspended", "budgets": []},
        {"status": "suspended", "budgets": None},
    ),
    ("GET", f"{ROOT}/keys"): AdminSample(
        _plain(KeyPage(*cut_page([_KEY], 1, lambda key: show_key(key, _NOW_US)))),
        query="account_id=team%20a&limit=100",
    ),
    ("POST", f"{ROOT}/keys"): AdminSample(
        _plain(show_created(_TEXT, _KEY, _NOW_US)),
        {
            "account_id": ACCOUNT_ID,
            "name": "nightly job",
            "models": ["gpt-4o", "local/*"],
            "limits": {"rpm": 60},
            "budgets": [{"period": "day", "tokens": 1_000_000}],
        },
    ),
    ("GET", f"{ROOT}/keys/{{key_id}}"): AdminSample(_plain(show_key(_KEY, _NOW_US))),
    ("PATCH", f"{ROOT}/keys/{{key_id}}"): AdminSample(
        _plain(show_key(_CHANGED, _NOW_US)),
        {"expires_at": "2026-12-21T00:00:00Z", "limits": {"rpm": None}},
    ),
    ("DELETE", f"{ROOT}/keys/{{key_id}}"): AdminSample(_plain(show_key(_REVOKED, _NOW_US))),
    ("POST", f"{ROOT}/keys/{{key_id}}/rotate"): AdminSample(
        _plain(show_created("tl-m2Qz7RtL…", _SUCCESSOR, _NOW_US)), {"overlap_s": 86_400}
    ),
    ("GET", f"{ROOT}/audit"): AdminSample(
        _plain(AuditPage(*cut_page([_ENTRY], 1, show_audit))), query="kind=account&limit=100"
    ),
    ("GET", f"{ROOT}/usage"): AdminSample(
        msgspec.json.decode(write_json(_SHEET)), query="account=team%20a&since=7d&by=model"
    ),
    ("GET", f"{ROOT}/targets"): AdminSample(
        _plain(
            TargetPage(
                [TargetView("openai/gpt-4o", "closed", 0, 0, 412.5, 0, 3, {"complete": 9120})]
            )
        )
    ),
}
"""By method and path."""
