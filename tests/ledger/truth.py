"""Compares a ledger with what the upstream and the clients know of the same calls."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import select

from ledger.caller import Got, Outcome, may_be_held
from ledger.fate import DRAINS, KEEPS, Plan
from ledger.served import Serving, sum_told
from ledger.trial import Trial
from store.posted import find_spent, list_all, list_days, sum_up
from trunkline.ledger.entry import NO_TOKENS, Tokens
from trunkline.ledger.recovery import SHIPPED
from trunkline.store.attempt import TRIES
from trunkline.store.posting import AttemptRow, EntryRow
from trunkline.store.schema import LEASES
from trunkline.store.store import Store

GRACE_S: Final = 5.0
"""How long before a gateway's death a client may have left whose call was lost in it."""
_STATUSES: Final[dict[Got, frozenset[str]]] = {
    "complete": frozenset({"complete"}),
    "error": frozenset({"failed", "refused"}),
    "broken": frozenset({"failed", "lost", "complete"}),
    "left": frozenset({"left", "failed", "lost", "complete"}),
    "nothing": frozenset({"failed", "lost", "complete", "refused"}),
}
"""What the ledger may say of a call of which the client got this. It may be ahead of the client,
as far as a gateway was killed before the last bytes left."""
_FAULTS: Final = ("Traceback", "failed inside", "could not", "damaged", "no room")


class Case(msgspec.Struct):
    """All that is known of one call."""

    plan: Plan
    outcome: Outcome
    servings: list[Serving]
    entry: EntryRow | None
    attempts: list[AttemptRow]


class Audit:
    """Looks through the ledger of a trial.

    Attributes:
        seen: how often what was there, by status, by source and by what was compared.
    """

    def __init__(self, trial: Trial, store: Store) -> None:
        self.seen: Counter[str] = Counter()
        self._trial = trial
        self._store = store
        self._entries = list_all(store)
        self._attempts: dict[str, list[AttemptRow]] = defaultdict(list)
        columns = [TRIES.c[name] for name in AttemptRow.__struct_fields__]
        query = select(*columns).order_by(TRIES.c.entry_id, TRIES.c.number)
        with store.database.read() as connection:
            for row in connection.execute(query):
                self._attempts[row.entry_id].append(AttemptRow(*row))

    def check(self) -> None:
        """Compare everything.

        Raises:
            AssertionError: with all that is known of the call.
        """
        for case in self._list_cases():
            try:
                self._check_outcome(case)
                if case.entry is not None:
                    self._check_entry(case.entry, case)
                    for attempt in case.attempts:
                        self._check_attempt(attempt, case)
            except AssertionError as error:
                deaths_s = [at_s for _, at_s in self._trial.deaths]
                raise AssertionError(f"{error}\n{case}\ndeaths: {deaths_s}") from None
        self._check_sums()
        self._check_rest()

    def _list_cases(self) -> list[Case]:
        """The calls; every entry belongs to one, and to no other."""
        trial, entries = self._trial, {}
        for each in self._entries:
            number = int(each.model.partition("call-")[2])
            assert number not in entries, f"a second entry of a call: {each}"
            assert trial.plans[number].model == each.model
            entries[number] = each
        assert trial.outcomes.keys() == trial.plans.keys()
        return [
            Case(
                plan,
                trial.outcomes[number],
                trial.upstream.servings.get(number, []),
                entry := entries.get(number),
                self._attempts[entry.id] if entry else [],
            )
            for number, plan in trial.plans.items()
        ]

    def _check_outcome(self, case: Case) -> None:
        outcome, entry = case.outcome, case.entry
        self.seen[f"client: {outcome.got}"] += 1
        if entry is None:
            assert outcome.got == "nothing", "a call is not in the ledger"
            assert not case.servings, "a call that was served is not in the ledger"
            self.seen["no entry"] += 1
            return
        assert entry.status in _STATUSES[outcome.got], "client and ledger tell of two ends"
        if outcome.call_id:
            assert outcome.call_id == entry.id
        is_ahead = entry.status in {"complete", "refused"} and outcome.got in {"broken", "nothing"}
        if entry.status == "lost" or is_ahead:
            assert self._died_with_it(case), "no gateway was killed then"

    def _died_with_it(self, case: Case) -> bool:
        """Whether the call's gateway was killed while the call was open, as far as can be told."""
        outcome, own = case.outcome, self._trial.find_keeper(case.plan)
        left_s = GRACE_S if outcome.got == "left" else 0
        return any(
            keeper is own and outcome.sent_at_s <= at_s <= outcome.ended_at_s + left_s
            for keeper, at_s in self._trial.deaths
        )

    def _check_entry(self, entry: EntryRow, case: Case) -> None:
        self.seen[entry.status] += 1
        self.seen[entry.usage_source] += 1
        self.seen[f"code: {entry.code}"] += 1
        assert entry.attempts == len(case.attempts)
        tried = [attempt.target for attempt in case.attempts]
        assert {serving.target for serving in case.servings} <= {*tried}, "one is not there"
        assert len(tried) == len({*tried})
        sums = [read_tokens(attempt) for attempt in case.attempts]
        assert read_tokens(entry) == add_all(sums)
        assert entry.cost_micros == sum(attempt.cost_micros or 0 for attempt in case.attempts)
        assert entry.account_id == case.plan.account
        assert entry.key_id == self._trial.key_ids[case.plan.account]
        assert entry.stream == case.plan.stream
        if entry.status in {"refused", "lost"}:
            assert entry.usage_source == "none"
        if entry.status == "refused":
            assert entry.code == "overloaded"
        if entry.status == "complete":
            told = [serving.told for serving in case.servings if serving.whole]
            if told and None not in told and len(case.attempts) == 1:
                assert entry.usage_source == "provider"

    def _check_attempt(self, attempt: AttemptRow, case: Case) -> None:
        servings = [each for each in case.servings if each.target == attempt.target]
        tokens, told, source = read_tokens(attempt), sum_told(servings), attempt.usage_source
        if attempt.status == "lost" or source == "none":
            assert tokens == NO_TOKENS
            assert not attempt.cost_micros
            assert source == "none"
        else:
            assert attempt.cost_micros == attempt.input_tokens + 2 * attempt.output_tokens
        if attempt.status == "lost":
            return
        plan = case.plan
        sure = is_sure(attempt, plan, servings)
        self.seen[f"{source}, {'sure' if sure else 'bounded'}"] += 1
        if source == "provider":
            assert attempt.status == "complete"
            assert all(serving.whole for serving in servings)
        if source in {"provider", "counted"} and not sure:
            pairs = zip(msgspec.structs.astuple(tokens), msgspec.structs.astuple(told), strict=True)
            assert all(one <= other for one, other in pairs), f"more than {told}"
            if plan.copies > 1:  # all of them have the same fate
                assert tokens.input == told.input, "some alternatives were not counted"
        elif source in {"provider", "counted"}:
            assert tokens == told, f"not {told}"
            self.seen["tokens"] += told.input + told.output
        elif sure:
            assert all(serving.told is None for serving in servings), f"not {told}"
            if source == "estimated" and plan.stream:
                assert attempt.output_tokens == sum(serving.pieces for serving in servings)

    def _check_sums(self) -> None:
        """The sums of days, and what was spent of budgets."""
        assert Counter(list_days(self._store)) == Counter(sum_up(self._entries))
        spent: Counter[tuple[str, str, str]] = Counter()
        for window, amount in find_spent(self._store).items():
            spent[window.kind, window.subject_id, window.unit] += amount
        used: Counter[tuple[str, str, str]] = Counter()
        for case in self._list_cases():
            entry = case.entry
            if entry is None:
                continue
            micros, tokens = entry.cost_micros or 0, entry.input_tokens + entry.output_tokens
            if entry.status == "lost":
                micros, tokens = may_be_held(case.plan, case.outcome)
            account = case.plan.account
            used["key", self._trial.key_ids[account], "usd"] += micros
            used["account", account, "tokens"] += tokens
            if account == KEEPS:
                used["account", account, "usd"] += micros
        assert spent == used

    def _check_rest(self) -> None:
        """Nothing is left of what the gateways had open."""
        with self._store.database.read() as connection:
            assert connection.execute(select(LEASES)).all() == []
        rows = self._store.ledger.list_journals()
        assert {row.position for row in rows} <= {SHIPPED}
        for keeper in self._trial.keepers:
            assert keeper.list_journals() == []
            said = keeper.read_log()
            faults = [fault for fault in _FAULTS if fault in said]
            assert not faults, f"{faults} in the log:\n{said}"


def is_sure(attempt: AttemptRow, plan: Plan, servings: Sequence[Serving]) -> bool:
    """Whether the gateway must have read all that was told to it.

    It has not where it left first: because its client did, where the upstream was not waiting for
    that; because another alternative failed; or because this machine was too slow for a deadline.
    """
    if not all(serving.sure for serving in servings):
        return False
    if attempt.status == "complete":
        return True
    if plan.copies > 1:
        return False
    if attempt.status == "left":
        return plan.leaving != "anywhere" and plan.account != DRAINS
    silent = any(serving.fate.ending in {"stall", "hush"} for serving in servings)
    return bool(attempt.code) and (attempt.code != "upstream_timeout" or silent)


def read_tokens(row: EntryRow | AttemptRow) -> Tokens:
    return Tokens(
        row.input_tokens,
        row.output_tokens,
        row.cached_tokens,
        row.cache_write_tokens,
        row.reasoning_tokens,
        row.audio_input_tokens,
        row.audio_output_tokens,
    )


def add_all(many: Sequence[Tokens]) -> Tokens:
    rows = [msgspec.structs.astuple(each) for each in (NO_TOKENS, *many)]
    return Tokens(*(sum(column) for column in zip(*rows, strict=True)))
