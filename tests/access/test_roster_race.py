"""Two processes change the same things at once: no change is lost, and no entry of the audit."""

import subprocess
import sys
from pathlib import Path

from trunkline.access.key import NewKey
from trunkline.access.roster import Roster
from trunkline.store.store import Store
from trunkline.terms import AccountTerms, Limits, Terms

PEPPER = bytes(range(32))
TIMES = 6

SCRIPT = f"""
import sys, time
from pathlib import Path
import msgspec
from trunkline.access.roster import AccountChange, KeyChange, Roster
from trunkline.store.store import open_store
from trunkline.terms import Limits

def raise_limit(terms):
    return msgspec.structs.replace(terms, limits=Limits(rpm=terms.limits.rpm + 1))

place, key_id, actor = sys.argv[1:]
store = open_store(place if "://" in place else Path(place))
roster = Roster(store, bytes(range(32)), actor, lambda: time.time_ns() // 1000)
print("ready", flush=True)
sys.stdin.readline()
for _ in range({TIMES}):
    roster.edit_account("a", lambda account: AccountChange(terms=raise_limit(account.terms)))
    roster.edit_key(key_id, lambda key: KeyChange(terms=raise_limit(key.terms)))
store.close()
"""


def test_no_change_and_no_entry_is_lost(any_store: Store, place: Path | str) -> None:
    roster = Roster(any_store, PEPPER, "cli:test", lambda: 1)
    roster.create_account("a", "", AccountTerms(limits=Limits(rpm=1)))
    _, key = roster.create_key(NewKey(account_id="a", terms=Terms(limits=Limits(rpm=1))))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(place), key.id, actor],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for actor in ("cli:one", "cli:two")
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("\n", timeout=120)
        assert process.returncode == 0
    account, changed = any_store.accounts.find("a"), any_store.keys.find(key.id)
    assert account
    assert changed
    assert account.terms.limits.rpm == changed.terms.limits.rpm == 1 + 2 * TIMES
    for subject_id in ("a", key.id):
        entries = any_store.audit.list(subject_id=subject_id)[:-1]  # but for its creation
        steps = sorted(
            (entry.before["terms"]["limits"]["rpm"], entry.after["terms"]["limits"]["rpm"])
            for entry in entries
            if entry.before and entry.after
        )
        assert steps == [(rpm, rpm + 1) for rpm in range(1, 1 + 2 * TIMES)]
        for actor in ("cli:one", "cli:two"):
            assert sum(entry.actor == actor for entry in entries) == TIMES
