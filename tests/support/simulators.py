"""Simulated providers in a thread of the test's own, each with its script and journal at hand."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from modelbroker.simulator import Simulator, parse_script

Result = TypeVar("Result")


class SimulatorHandle:
    """One simulated provider; every method may be called from the test's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, simulator: Simulator) -> None:
        self._loop = loop
        self._simulator = simulator

    @property
    def port(self) -> int:
        return self._simulator.port

    @property
    def name(self) -> str:
        return self._simulator.name

    def script(self, **script: Any) -> None:
        """Replace the script, e.g. `script(faults=[{"status": 429}])`; no argument: behave well. Requests are
        not judged as strictly as real providers do, unless the script says `strict: true`."""
        parsed = parse_script(json.dumps({"strict": False, **script}), "test")
        self._run(self._set(parsed))

    async def _set(self, script: Any) -> None:
        self._simulator.set_script(script)

    def calls(self) -> list[dict[str, Any]]:
        """The journal: what this provider received so far, in order."""

        async def read() -> list[dict[str, Any]]:
            return [entry.shown() for entry in self._simulator.journal.since(0)]

        return self._run(read())

    def settled_calls(self) -> list[dict[str, Any]]:
        """The journal once no answer is under way any more."""
        self._run(self._simulator.settled())
        return self.calls()

    def forget(self) -> None:
        async def clear() -> None:
            self._simulator.journal.clear()

        self._run(clear())

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


class Simulators:
    """`with Simulators("a", "b") as sims: sims["a"].script(...)`."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._handles: dict[str, SimulatorHandle] = {}

    def __enter__(self) -> Simulators:
        self._thread.start()
        for name in self._names:
            self.add(name)
        return self

    def add(self, name: str, **options: Any) -> SimulatorHandle:
        simulator = Simulator(name, **options)

        async def start() -> None:
            await simulator.start()

        asyncio.run_coroutine_threadsafe(start(), self._loop).result(10)
        self._handles[name] = SimulatorHandle(self._loop, simulator)
        return self._handles[name]

    def __getitem__(self, name: str) -> SimulatorHandle:
        return self._handles[name]

    def __iter__(self) -> Any:
        return iter(self._handles.values())

    def reset(self) -> None:
        """All behave well and remember nothing."""
        for handle in self:
            handle.script()
            handle.forget()

    def __exit__(self, *_: object) -> None:
        async def close() -> None:
            for handle in self._handles.values():
                await handle._simulator.close()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
