"""What the tests of purses spend: a key's dollars a day, and an account's tokens in all."""

import time

from store.budgeted import add_key, set_budgets
from trunkline.limits.budget import Claim, find_window
from trunkline.limits.purse import Patience
from trunkline.store.store import Store
from trunkline.terms import Budget

DOLLARS = Budget("usd", "month", 100_000)
TOKENS = Budget("tokens", "total", 10_000)
KEY = Claim("key", "k1", DOLLARS, 1000)
ACCOUNT = Claim("account", "a", TOKENS, 50)
CLAIMS = (KEY, ACCOUNT)
"""A call that each budget allows, 100 times the one and 200 times the other."""

EASY = Patience(answer_s=20, retry_s=0.02, idle_s=0.05, known_s=0.02)
"""For machines that are busy: waits long for answers, and gives back soon."""

WINDOWS = tuple(
    find_window(claim.kind, claim.subject_id, claim.budget, time.time_ns() // 1000)
    for claim in CLAIMS
)


def set_up(store: Store, tokens: Budget = TOKENS) -> None:
    """The account, and its key."""
    set_budgets(store, "a", tokens)
    add_key(store, "k1", DOLLARS)
