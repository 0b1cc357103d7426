"""What the admin API is sent: closed structs, in which an unknown field is a fault."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from trunkline.access.roster import OVERLAP_MOST_S
from trunkline.access.wish import BUDGET_MOST, COUNT_MOST, LENGTH_MOST, LIMIT_MOST
from trunkline.errors import FieldFault, GatewayError
from trunkline.store.account import ID_LENGTH, Status
from trunkline.store.key import Role
from trunkline.terms import (
    NO_LIMITS,
    SHARE_MOST,
    Budget,
    Kind,
    Leaving,
    Limits,
    OverBudget,
    Period,
    Priority,
    Terms,
)
from trunkline.wire.body import SHOWN_CHARACTERS, read_body

FormT = TypeVar("FormT", bound=msgspec.Struct)
TermsT = TypeVar("TermsT", bound=Terms)

MICROS: Final = 1_000_000
LAST_YEAR: Final = 9998
"""Later years may end up beyond the calendar's 9999 in another time zone."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNKNOWN: Final = "Object contains unknown field `"
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])

Text = Annotated[str, Meta(max_length=LENGTH_MOST)]
AccountId = Annotated[str, Meta(min_length=1, max_length=ID_LENGTH)]
Moment = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=1, le=LIMIT_MOST)]
Share = Annotated[int, Meta(ge=1, le=SHARE_MOST)]
Tokens = Annotated[int, Meta(ge=0, le=BUDGET_MOST)]
Usd = Annotated[str, Meta(pattern=r"^[0-9]{1,10}(\.[0-9]{1,6})?$")]
Models = Annotated[tuple[Text, ...], Meta(max_length=COUNT_MOST)]
Accounts = Annotated[tuple[AccountId, ...], Meta(max_length=COUNT_MOST)]


class LimitsForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much may be asked for; null for no limit, and what is absent stays as it is."""

    rpm: Count | UnsetType | None = UNSET
    tpm: Count | UnsetType | None = UNSET
    concurrent: Count | UnsetType | None = UNSET


class BudgetForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much may be used in a period: ``usd`` or ``tokens``, one of them.

    Raises:
        ValueError: both or none of them is given.
    """

    period: Period
    usd: Usd | UnsetType = UNSET
    tokens: Tokens | UnsetType = UNSET

    def __post_init__(self) -> None:
        if (self.usd is UNSET) == (self.tokens is UNSET):
            raise ValueError("a budget has either usd or tokens")
        if isinstance(self.usd, str) and not self.usd.isprintable():
            raise ValueError("usd is a decimal number in a text")  # `$` lets a last newline pass

    def build(self) -> Budget:
        """The budget in whole micro-dollars or tokens."""
        if self.tokens is not UNSET:
            return Budget("tokens", self.period, self.tokens)
        whole, _, part = str(self.usd).partition(".")
        return Budget("usd", self.period, int(whole) * MICROS + int(part.ljust(6, "0")))


Budgets = Annotated[tuple[BudgetForm, ...], Meta(max_length=6)]


class AccountCreation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new account."""

    id: AccountId
    name: Text = ""
    limits: LimitsForm | None = None
    budgets: Budgets | None = None
    leaving: Leaving = "cancel"
    over_budget: OverBudget = "refuse"
    share: Share = 1
    priority: Priority = "normal"


class AccountChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What shall change of an account; what is absent stays as it is."""

    name: Text | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    limits: LimitsForm | UnsetType | None = UNSET
    budgets: Budgets | UnsetType | None = UNSET
    leaving: Leaving | UnsetType = UNSET
    over_budget: OverBudget | UnsetType = UNSET
    share: Share | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET


class KeyCreation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new key; its account and role are for ever."""

    account_id: AccountId
    name: Text = ""
    role: Role = "member"
    models: Models | None = None
    accounts: Accounts = ()
    expires_at: Moment | None = None
    limits: LimitsForm | None = None
    budgets: Budgets | None = None


class KeyEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What shall change of a key; what is absent stays as it is. Account and role never change."""

    name: Text | UnsetType = UNSET
    models: Models | UnsetType | None = UNSET
    accounts: Accounts | UnsetType = UNSET
    expires_at: Moment | UnsetType | None = UNSET
    limits: LimitsForm | UnsetType | None = UNSET
    budgets: Budgets | UnsetType | None = UNSET


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a key is replaced: for ``overlap_s`` seconds the old text works beside the new one."""

    overlap_s: Annotated[int, Meta(ge=0, le=OVERLAP_MOST_S)] = 0


class Paging(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a list: at most ``limit`` rows, those after the row with the id ``after``."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    after: Text | None = None


class KeyPaging(Paging, frozen=True, forbid_unknown_fields=True):
    """Which keys: those of one account, if it is named."""

    account_id: AccountId | None = None


class AuditPaging(Paging, frozen=True, forbid_unknown_fields=True):
    """Which changes: of accounts or of keys, and of one of them, if it is named."""

    kind: Kind | None = None
    subject_id: Text | None = None


def read_form(form: type[FormT], body: bytes) -> FormT:
    """Decode a body into a closed struct.

    Raises:
        GatewayError: ``validation_error`` with every fault, unknown fields among them.
    """
    try:
        return read_body(msgspec.json.Decoder(form), body)
    except GatewayError as error:
        faults = [_name_unknown(fault) for fault in error.faults if fault.loc != ("body",)]
        faults = [*_find_unknown(form, body), *faults]
        raise refuse_fields(faults or error.faults) from None


def read_query(form: type[FormT], query: Mapping[str, str]) -> FormT:
    """Turn the parameters of a query into a closed struct.

    Raises:
        GatewayError: ``validation_error`` with every fault, unknown parameters among them.
    """
    kinds = {field.name: field.type for field in msgspec.structs.fields(form)}
    faults = []
    for name, text in query.items():
        if name not in kinds:
            faults.append(_refuse_extra(("query", name[:SHOWN_CHARACTERS])))
            continue
        try:
            # The word null stands for None here, which is said by leaving the parameter out.
            if msgspec.convert(text, kinds[name], strict=False) is None:
                faults.append(FieldFault(("query", name), "It cannot be null", "value_error"))
        except msgspec.ValidationError as error:
            faults.append(FieldFault(("query", name), str(error), "value_error"))
    if faults:
        raise refuse_fields(faults)
    return msgspec.convert(query, form, strict=False)


def refuse_fields(faults: Sequence[FieldFault]) -> GatewayError:
    """The failure of a request with these faults, the first of which its message tells."""
    first = faults[0]
    where = ".".join(str(step) for step in first.loc)
    names = [step for step in first.loc[1:] if isinstance(step, str)]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return GatewayError(
        "validation_error",
        f"{where}: {first.msg}{more}",
        param=names[-1] if names else None,
        faults=tuple(faults),
    )


def refuse_field(name: str, message: str) -> GatewayError:
    """The failure of a body in which one field is wrong."""
    return refuse_fields([FieldFault(("body", name), message, "value_error")])


def merge_terms(
    terms: TermsT,
    limits: LimitsForm | UnsetType | None,
    budgets: Iterable[BudgetForm] | UnsetType | None,
) -> TermsT:
    """Terms with what a form says about them; what it does not say stays.

    Raises:
        GatewayError: ``validation_error``: two budgets have the same unit and period.
    """
    wanted = terms.budgets
    if not isinstance(budgets, UnsetType):
        wanted = tuple(budget.build() for budget in budgets or ())
    merged = _merge_limits(terms.limits, limits)
    try:
        return msgspec.structs.replace(terms, limits=merged, budgets=wanted)
    except ValueError as error:
        raise refuse_field("budgets", str(error)) from None


def read_moment(moment: datetime | None) -> int | None:
    """Microseconds since 1970, UTC.

    Raises:
        GatewayError: ``validation_error``: the moment is too far away to be told.
    """
    if moment is None:
        return None
    if moment.year > LAST_YEAR:
        raise refuse_field("expires_at", f"the year is {LAST_YEAR} at the latest")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _merge_limits(before: Limits, form: LimitsForm | UnsetType | None) -> Limits:
    if form is None:
        return NO_LIMITS
    if isinstance(form, UnsetType):
        return before
    said = {
        name: value
        for name, value in msgspec.structs.asdict(form).items()
        if not isinstance(value, UnsetType)
    }
    return msgspec.structs.replace(before, **said)


def _find_unknown(form: type[msgspec.Struct], body: bytes) -> list[FieldFault]:
    """Faults for the fields of the outermost object that the form does not have."""
    try:
        names = _FIELDS.decode(body).keys()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    unknown = names - {field.encode_name for field in msgspec.structs.fields(form)}
    return [_refuse_extra(("body", name[:SHOWN_CHARACTERS])) for name in sorted(unknown)]


def _name_unknown(fault: FieldFault) -> FieldFault:
    """The fault of an unknown field with that field in its place."""
    if not fault.msg.startswith(_UNKNOWN):
        return fault
    name = fault.msg.removeprefix(_UNKNOWN).removesuffix("`")
    return _refuse_extra((*fault.loc, name))


def _refuse_extra(place: tuple[str | int, ...]) -> FieldFault:
    return FieldFault(place, "There is no such field, or it cannot be set here", "extra_forbidden")
