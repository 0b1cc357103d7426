"""The admin API: all its routes in one list, and what each of them does."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from trunkline.access.grant import quote_text
from trunkline.access.key import NewKey
from trunkline.access.roster import AccountChange as Change
from trunkline.access.roster import KeyChange, KeyUnknownError
from trunkline.api.admin_form import (
    AccountChange,
    AccountCreation,
    AuditPaging,
    BudgetForm,
    KeyCreation,
    KeyEdit,
    KeyPaging,
    LimitsForm,
    Paging,
    Rotation,
    merge_terms,
    read_moment,
)
from trunkline.api.admin_route import ROOT, AdminDesk, AdminRoute, Ask, Document, Operation
from trunkline.api.admin_view import (
    AccountPage,
    AccountView,
    AuditPage,
    CreatedKey,
    KeyPage,
    KeyView,
    TargetPage,
    cut_page,
    show_account,
    show_audit,
    show_created,
    show_key,
    show_target,
)
from trunkline.errors import GatewayError
from trunkline.store.account import Account, AccountExistsError, AccountUnknownError
from trunkline.store.key import Key
from trunkline.store.page import CursorUnknownError
from trunkline.terms import NO_ACCOUNT_TERMS, NO_TERMS

_WAYS = ("leaving", "over_budget", "share", "priority")
_Budgets = tuple[BudgetForm, ...] | UnsetType | None


def list_admin_routes(desk: AdminDesk) -> list[AdminRoute]:
    """The routes, ready to be served."""
    return [AdminRoute(path, operations, desk) for path, operations in ADMIN.items()]


def _list_accounts(desk: AdminDesk, ask: Ask) -> AccountPage:
    query: Paging = ask.query
    with _refusing(ask):
        rows = desk.store.accounts.list(query.after, query.limit + 1)
    return AccountPage(*cut_page(rows, query.limit, show_account))


def _create_account(desk: AdminDesk, ask: Ask) -> AccountView:
    form: AccountCreation = ask.form
    ways = {name: getattr(form, name) for name in _WAYS}
    bare = msgspec.structs.replace(NO_ACCOUNT_TERMS, **ways)
    terms = merge_terms(bare, form.limits, form.budgets)
    with _refusing(ask):
        return show_account(desk.roster(ask.key_id).create_account(form.id, form.name, terms))


def _find_account(desk: AdminDesk, ask: Ask) -> AccountView:
    return show_account(_require_account(desk, ask))


def _change_account(desk: AdminDesk, ask: Ask) -> AccountView:
    form: AccountChange = ask.form
    ways = {name: value for name in _WAYS if (value := getattr(form, name)) is not UNSET}

    def decide(before: Account) -> Change:
        terms = None
        if ways or _says_terms(form.limits, form.budgets):
            base = msgspec.structs.replace(before.terms, **ways)
            terms = merge_terms(base, form.limits, form.budgets)
        return Change(
            name=None if form.name is UNSET else form.name,
            status=None if form.status is UNSET else form.status,
            terms=terms,
        )

    with _refusing(ask):
        roster = desk.roster(ask.key_id)
        return show_account(roster.edit_account(ask.ids["account_id"], decide))


def _list_keys(desk: AdminDesk, ask: Ask) -> KeyPage:
    query: KeyPaging = ask.query
    with _refusing(ask):
        if query.account_id is not None and desk.store.accounts.find(query.account_id) is None:
            raise AccountUnknownError(query.account_id)
        rows = desk.store.keys.list(query.account_id, query.after, query.limit + 1)
    now_us = desk.clock()
    return KeyPage(*cut_page(rows, query.limit, lambda key: show_key(key, now_us)))


def _create_key(desk: AdminDesk, ask: Ask) -> CreatedKey:
    form: KeyCreation = ask.form
    new = NewKey(
        account_id=form.account_id,
        name=form.name,
        role=form.role,
        models=form.models,
        expires_at_us=read_moment(form.expires_at),
        accounts=form.accounts,
        terms=merge_terms(NO_TERMS, form.limits, form.budgets),
    )
    with _refusing(ask):
        text, key = desk.roster(ask.key_id).create_key(new)
    return show_created(text, key, desk.clock())


def _find_key(desk: AdminDesk, ask: Ask) -> KeyView:
    return show_key(_require_key(desk, ask), desk.clock())


def _change_key(desk: AdminDesk, ask: Ask) -> KeyView:
    form: KeyEdit = ask.form
    said: dict[str, object] = {
        name: value
        for name in ("name", "models", "accounts")
        if (value := getattr(form, name)) is not UNSET
    }
    if form.expires_at is not UNSET:
        said["expires_at_us"] = read_moment(form.expires_at)

    def decide(before: Key) -> KeyChange:
        if _says_terms(form.limits, form.budgets):
            said["terms"] = merge_terms(before.terms, form.limits, form.budgets)
        return msgspec.structs.replace(KeyChange(), **said)

    with _refusing(ask):
        key = desk.roster(ask.key_id).edit_key(ask.ids["key_id"], decide)
    return show_key(key, desk.clock())


def _revoke_key(desk: AdminDesk, ask: Ask) -> KeyView:
    with _refusing(ask):
        key = desk.roster(ask.key_id).revoke_key(ask.ids["key_id"])
    return show_key(key, desk.clock())


def _rotate_key(desk: AdminDesk, ask: Ask) -> CreatedKey:
    form: Rotation = ask.form
    with _refusing(ask):
        text, key = desk.roster(ask.key_id).rotate_key(ask.ids["key_id"], form.overlap_s)
    return show_created(text, key, desk.clock())


def _list_audit(desk: AdminDesk, ask: Ask) -> AuditPage:
    query: AuditPaging = ask.query
    with _refusing(ask):
        rows = desk.store.audit.list(
            query.after, query.limit + 1, kind=query.kind, subject_id=query.subject_id
        )
    return AuditPage(*cut_page(rows, query.limit, show_audit))


def _report_usage(desk: AdminDesk, ask: Ask) -> Document:
    return Document(*desk.report(ask.query))


def _list_targets(desk: AdminDesk, _ask: Ask) -> TargetPage:
    now_s = time.perf_counter_ns() / 1e9
    return TargetPage([show_target(standing, now_s) for standing in desk.standings])


ADMIN: Final[Mapping[str, tuple[Operation, ...]]] = {
    f"{ROOT}/accounts": (
        Operation(
            method="GET",
            action=_list_accounts,
            summary="List the accounts",
            query=Paging,
            answer=AccountPage,
        ),
        Operation(
            method="POST",
            action=_create_account,
            summary="Create an account",
            body=AccountCreation,
            answer=AccountView,
            status=201,
        ),
    ),
    f"{ROOT}/accounts/{{account_id}}": (
        Operation(
            method="GET", action=_find_account, summary="Show an account", answer=AccountView
        ),
        Operation(
            method="PATCH",
            action=_change_account,
            summary="Change an account",
            about="A suspended account's keys are refused within 5 seconds.",
            body=AccountChange,
            answer=AccountView,
        ),
    ),
    f"{ROOT}/keys": (
        Operation(
            method="GET",
            action=_list_keys,
            summary="List the keys",
            about="Never with their text.",
            query=KeyPaging,
            answer=KeyPage,
        ),
        Operation(
            method="POST",
            action=_create_key,
            summary="Create a key",
            about="The answer's `key` is its text; nothing can show it again.",
            body=KeyCreation,
            answer=CreatedKey,
            status=201,
        ),
    ),
    f"{ROOT}/keys/{{key_id}}": (
        Operation(method="GET", action=_find_key, summary="Show a key", answer=KeyView),
        Operation(
            method="PATCH",
            action=_change_key,
            summary="Change a key",
            about="Account and role never change. Limits and budgets count for all keys of a "
            "chain of rotations together, so new ones count for each of them.",
            body=KeyEdit,
            answer=KeyView,
        ),
        Operation(
            method="DELETE",
            action=_revoke_key,
            summary="Revoke a key",
            about="For good; it is refused within 5 seconds. A second time changes nothing.",
            answer=KeyView,
        ),
    ),
    f"{ROOT}/keys/{{key_id}}/rotate": (
        Operation(
            method="POST",
            action=_rotate_key,
            summary="Replace a key",
            about="Makes a key that may do the same and goes on with the same limits and budgets. "
            "The answer's `key` is its text; nothing can show it again. The old key ends after "
            "the overlap.",
            body=Rotation,
            body_needed=False,
            answer=CreatedKey,
            status=201,
        ),
    ),
    f"{ROOT}/audit": (
        Operation(
            method="GET",
            action=_list_audit,
            summary="List the changes",
            about="Who changed what of an account or a key, and when; never a secret.",
            query=AuditPaging,
            answer=AuditPage,
        ),
    ),
    f"{ROOT}/usage": (Operation(method="GET", action=_report_usage, summary="Report the usage"),),
    f"{ROOT}/targets": (
        Operation(
            method="GET",
            action=_list_targets,
            summary="Show how the targets stand",
            about="Circuits, speed and attempts, as the worker that answers knows them.",
            answer=TargetPage,
        ),
    ),
}
"""The operations of every path."""


def _says_terms(limits: LimitsForm | UnsetType | None, budgets: _Budgets) -> bool:
    return limits is not UNSET or budgets is not UNSET


def _require_account(desk: AdminDesk, ask: Ask) -> Account:
    account_id = ask.ids["account_id"]
    account = desk.store.accounts.find(account_id)
    if account is None:
        raise _miss_account(account_id)
    return account


def _require_key(desk: AdminDesk, ask: Ask) -> Key:
    key = desk.store.keys.find(ask.ids["key_id"])
    if key is None:
        raise _miss_key()
    return key


def _miss_account(account_id: str) -> GatewayError:
    return GatewayError("route_not_found", f"There is no account {quote_text(account_id)}.")


def _miss_key() -> GatewayError:
    # What was asked for is not repeated: it may be a whole key.
    return GatewayError("route_not_found", "There is no key with this id; GET /keys lists them.")


@contextmanager
def _refusing(ask: Ask) -> Iterator[None]:
    """Tells the client what the roster and the store refuse."""
    try:
        yield
    except KeyUnknownError:
        raise _miss_key() from None
    except AccountUnknownError as error:
        if error.account_id == ask.ids.get("account_id"):
            raise _miss_account(error.account_id) from None
        own = getattr(ask.form or ask.query, "account_id", None)
        raise GatewayError(
            "invalid_request",
            f"There is no account {quote_text(error.account_id)}.",
            param="account_id" if own == error.account_id else "accounts",
        ) from None
    except AccountExistsError:
        message = f"There already is an account {quote_text(ask.form.id)}."
        raise GatewayError("invalid_request", message, param="id") from None
    except CursorUnknownError:
        message = "There is no row with the id that the page shall begin after."
        raise GatewayError("invalid_request", message, param="after") from None
    except UnicodeError:
        raise  # a ValueError that nobody wrote for people
    except ValueError as error:
        text = str(error)
        raise GatewayError("invalid_request", f"{text[:1].upper()}{text[1:]}.") from None
