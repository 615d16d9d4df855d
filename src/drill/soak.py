"""`modelbroker drill --soak`: load, edits and faults for as long as one likes, and what is left of them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import endurance
from .calls import Call
from .load import Load
from .overlay import edited
from .rehearsal import Rehearsal, run_to_end, running, to_its_end_or_interruption
from .run import Prepared, going_on, patience_s, prepare, strike, wait_for_records
from .scenarios import Scenario, in_turn, scenarios

log = logging.getLogger("modelbroker.drill")

_FAULT_S = 2.0
_PAUSE_S = 2.0
_SAMPLE_S = 1.0
_EDIT_S = 15.0
# How many times in all the load rests: seldom in a long soak, where connections are to grow old in between.
_RESTS = 24
_LOOKS, _LOOK_S = 4, 0.1
_JOURNAL = {"journal": {"entries": 100, "body_bytes": 0}}


@dataclass(frozen=True, slots=True)
class SoakOptions:
    config: Path
    folder: Path
    seconds: float
    calls_per_second: float = 100.0
    pools: tuple[str, ...] = ()
    time_lapse: bool = True
    format: str = "table"


def run_soak(options: SoakOptions) -> int:
    """Prints the result; 1 where a promise was broken."""
    prepared = prepare(options.config, options.pools, options.time_lapse)
    soak = run_to_end(_Soak(options, prepared).run())
    if options.format == "json":
        print(endurance.as_json(soak, prepared.notes), flush=True)
    else:
        print(endurance.as_text(soak, prepared.notes, markdown=options.format == "markdown"), flush=True)
    return 1 if endurance.broken(soak) else 0


class _Soak:
    def __init__(self, options: SoakOptions, prepared: Prepared) -> None:
        self._options, self._prepared = options, prepared
        self._load = Load("", 0, prepared.key, options.calls_per_second, self._note)
        self._samples: list[endurance.Sample] = []
        # Phase → the scenario of which calls that were due then may have felt something.
        self._scenarios: dict[str, Scenario] = {}
        self._errors = self._unforeseen = self._edits = self._stuck = self._faults = 0
        self._example = ""

    def _note(self, call: Call) -> None:
        if call.seen.end == "good":
            return
        self._errors += 1
        scenario = self._scenarios.get(call.phase)
        if scenario is None or not scenario.excuse(call.ask):
            self._unforeseen += 1
            where = f"under {scenario}" if scenario else "without a fault"
            self._example = self._example or f"{where}: {call.story()}"

    async def run(self) -> endurance.Soak:
        chosen = list(in_turn(self._turns()))
        random.Random(7).shuffle(chosen)  # a short soak has something of each pool too
        # Most calls are under way together where members are silent. What that takes once belongs to the
        # warm-up: allocators keep it.
        chosen.sort(key=lambda scenario: not scenario.fault.waits)
        async with running(self._prepared.files, self._options.folder) as rehearsal:
            await rehearsal.find_simulators(self._prepared.catalog, _JOURNAL)
            self._load.host, self._load.port = rehearsal.host, rehearsal.port
            watching = asyncio.create_task(self._watch(rehearsal, time.monotonic()))
            began = time.monotonic()
            await to_its_end_or_interruption(self._turns_of(rehearsal, chosen, began))
            seconds = time.monotonic() - began
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self._load.close()
            await wait_for_records(rehearsal, self._load.started)
        (self._options.folder / "soak.csv").write_text(endurance.as_csv(self._samples), encoding="utf-8")
        kept = rehearsal.records.kept
        lost = sum(number not in kept for number in range(self._load.started))
        doubled = sum(len(records) > 1 for records in kept.values())
        return endurance.Soak(
            seconds,
            self._load.started,
            self._errors,
            self._unforeseen,
            lost,
            doubled,
            self._edits,
            self._stuck,
            self._faults,
            endurance.trends(self._samples, seconds),
            self._example,
        )

    async def _turns_of(self, rehearsal: Rehearsal, chosen: Sequence[Scenario], began: float) -> None:
        rested_s = began
        for scenario in itertools.cycle(chosen):
            if time.monotonic() - began >= self._options.seconds:
                return
            await self._turn(rehearsal, scenario, self._faults)
            self._faults += 1
            if time.monotonic() - rested_s >= self._options.seconds / _RESTS:
                await self._rest(rehearsal, began)
                rested_s = time.monotonic()

    def _turns(self) -> Sequence[Scenario]:
        """What leaves a healthy member: errors of a pool that is gone say nothing here."""
        every = scenarios(self._prepared.plans, self._prepared.catalog)
        return [scenario for scenario in every if scenario.target.scope != "all"] or list(every)

    async def _turn(self, rehearsal: Rehearsal, scenario: Scenario, number: int) -> None:
        """A fault, its end, and an edit in between, under load on its pool."""
        self._load.patience_s = patience_s(scenario.plan)
        during = f"{number} during"
        self._scenarios[during] = scenario
        async with going_on(self._load, scenario.plan, during):
            told = await strike(rehearsal, scenario, self._prepared.catalog)
            await asyncio.sleep(_FAULT_S / 2)
            await self._edit(rehearsal)
            await asyncio.sleep(_FAULT_S / 2)
            await rehearsal.heal(told)
            self._load.phase = f"{number} after"
            await asyncio.sleep(_PAUSE_S)
        self._scenarios.pop(during)
        await asyncio.to_thread(rehearsal.records.read)
        log.info("%d: %s: %d calls so far, %d errors", number, scenario, self._load.started, self._errors)

    async def _rest(self, rehearsal: Rehearsal, began: float) -> None:
        """Between two turns no call is under way. What clients and providers keep open for the next one is
        theirs: clients as many connections as a fault of late had calls wait together, which is no leak."""
        self._load.close()
        await rehearsal.hang_up()
        for _ in range(_LOOKS):
            await asyncio.sleep(_LOOK_S)
            processes = await asyncio.to_thread(rehearsal.processes)
            self._samples.append(endurance.Sample(time.monotonic() - began, processes, at_rest=True))
        await rehearsal.heal()

    async def _edit(self, rehearsal: Rehearsal) -> None:
        """Write the configuration anew, as an editor does, and wait until it is in effect."""
        self._edits += 1
        before = (await rehearsal.status()).get("revision")
        for name, text in self._prepared.files.items():
            fresh = rehearsal.config / f".{name}.new"
            fresh.write_text(edited(text, self._edits), encoding="utf-8")
            fresh.replace(rehearsal.config / name)
        deadline = time.monotonic() + _EDIT_S
        while time.monotonic() < deadline:
            status = await rehearsal.status()
            if status.get("revision") != before and status.get("in_effect"):
                return
            await asyncio.sleep(0.05)
        self._stuck += 1

    async def _watch(self, rehearsal: Rehearsal, began: float) -> None:
        while True:
            processes = await asyncio.to_thread(rehearsal.processes)
            self._samples.append(endurance.Sample(time.monotonic() - began, processes))
            await asyncio.sleep(_SAMPLE_S)
