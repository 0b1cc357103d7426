"""The ledger is true whatever happens: faults, leaving clients, and gateways that are killed."""

import os
import random
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from ledger.fate import Ending, Plan, is_chain
from ledger.trial import Blow, Setting, Trial
from ledger.truth import Audit
from store.postgres import make_schema, make_url
from trunkline.store.store import open_store

SEED = int(os.environ.get("TRUNKLINE_TEST_SEED") or random.SystemRandom().getrandbits(32))
SORTS = {"complete", "failed", "left", "lost", "provider", "counted", "estimated", "none"}


async def audit(trial: Trial) -> Counter[str]:
    """Run a trial and check the books; how often what was seen."""
    print(f"TRUNKLINE_TEST_SEED={trial.setting.seed}")
    await trial.run()
    with closing(open_store(trial.store)) as store:
        found = Audit(trial, store)
        found.check()
    print(dict(sorted(found.seen.items())), "deaths:", len(trial.deaths))
    return found.seen


async def hold_trial(setting: Setting, folder: Path) -> None:
    seen = await audit(Trial(setting, folder))
    assert seen.keys() >= SORTS  # else it has proved too little


@pytest.mark.slow
async def test_one_worker(tmp_path: Path) -> None:
    blows: tuple[Blow, ...] = ("kill", "kill", "stop", "kill", "kill")
    await hold_trial(Setting(SEED, 3000, blows), tmp_path)


@pytest.mark.slow
async def test_two_workers(tmp_path: Path) -> None:
    await hold_trial(Setting(SEED, 1000, ("worker", "kill", "stop"), workers=2), tmp_path)


@pytest.mark.slow
@pytest.mark.postgres
async def test_two_gateways_on_one_database(tmp_path: Path) -> None:
    with make_schema() as options:
        url = make_url(options=options)
        blows: tuple[Blow, ...] = ("kill", "kill", "stop")
        await hold_trial(Setting(SEED, 800, blows, gateways=2, store=url), tmp_path)


async def test_what_a_stop_cuts_off_is_settled(tmp_path: Path) -> None:
    """Nothing is lost when calls last longer than a gateway that is stopped waits for them."""
    trial = Trial(Setting(SEED, 16, ("stop",), patience_s=8, drain_s=1), tmp_path)
    trial.plans = {number: silence(plan) for number, plan in trial.plans.items()}
    seen = await audit(trial)
    assert seen["failed"] + seen["no entry"] == 16
    assert seen["code: overloaded"] > 0


def silence(plan: Plan) -> Plan:
    """The same call, of an upstream that says nothing, or nothing more; of several at times."""
    ending: Ending = "stall" if plan.number % 2 else "hush"
    fates = [replace(fate, ending=ending, counting="running") for fate in plan.fates]
    told = replace(plan, leaving="stays", stream=True, fates=tuple(fates))
    if plan.number % 3 or is_chain(plan.number):
        return told
    return replace(told, copies=3, model=f"alone/{plan.name}", door="openai")
