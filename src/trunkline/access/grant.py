"""A grant: what the holder of one key may do, and whom a call of it counts for."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

import msgspec

from trunkline.errors import GatewayError
from trunkline.terms import AccountTerms, Terms


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """Whom one call counts for: an account and a key, and the terms of both.

    ``key_subject`` is what the key's limits and budgets are counted under; a key keeps it when it
    is rotated. ``is_free``: neither has limits or budgets.
    """

    account_id: str
    account_terms: AccountTerms
    key_id: str
    key_subject: str
    key_terms: Terms
    is_free: bool = False

    def __post_init__(self) -> None:
        free = self.key_terms.is_free and self.account_terms.is_free
        msgspec.structs.force_setattr(self, "is_free", free)


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a key allows: for which accounts, and with which models.

    ``account_id`` is the key's own account and one of ``accounts``, the active accounts that it
    may act for. An ``admin`` may act for every existing account. ``models`` are patterns in
    which ``*`` stands for any characters and ``?`` for one; None allows every model.
    ``terms`` are the key's, ``account_terms`` those of its ``accounts``; ``seat`` is where its
    calls sit that name no account.
    """

    key_id: str
    key_subject: str
    account_id: str
    accounts: frozenset[str]
    terms: Terms
    account_terms: Mapping[str, AccountTerms]
    seat: Seat
    admin: bool = False
    models: tuple[str, ...] | None = None

    def find_seat(self, account_id: str) -> Seat | None:
        """The seat at one of the key's accounts; None at any other."""
        if account_id == self.account_id:
            return self.seat
        terms = self.account_terms.get(account_id)
        return None if terms is None else self.make_seat(account_id, terms)

    def make_seat(self, account_id: str, terms: AccountTerms) -> Seat:
        """The seat at an account of these terms; whether the key may is not asked."""
        return Seat(
            account_id=account_id,
            account_terms=terms,
            key_id=self.key_id,
            key_subject=self.key_subject,
            key_terms=self.terms,
        )

    def allows_model(self, model: str) -> bool:
        """Whether the key may use the model of this public name."""
        if self.models is None:
            return True
        # Brackets are ordinary characters here: model names do contain them.
        return any(fnmatchcase(model, text.replace("[", "[[]")) for text in self.models)

    def require_model(self, model: str) -> None:
        """Pass when the key may use the model.

        Raises:
            GatewayError: ``permission_denied``.
        """
        if not self.allows_model(model):
            raise GatewayError(
                "permission_denied",
                f"This API key may not use the model {quote_text(model)}; "
                "ask its owner for a key that may, or choose another model.",
                param="model",
            )


def quote_text(text: str) -> str:
    """A client's own text for a message: quoted, escaped, at most about 100 characters."""
    return repr(text if len(text) <= 100 else f"{text[:100]}…")
