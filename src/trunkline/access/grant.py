"""A grant: what the holder of one key may do."""

from fnmatch import fnmatchcase

import msgspec

from trunkline.errors import GatewayError


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a key allows: for which accounts, and with which models.

    ``account_id`` is the key's own account and one of ``accounts``, the active accounts that it
    may act for. An ``admin`` may act for every existing account. ``models`` are patterns in
    which ``*`` stands for any characters and ``?`` for one; None allows every model.
    """

    key_id: str
    account_id: str
    accounts: frozenset[str]
    admin: bool = False
    models: tuple[str, ...] | None = None

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
