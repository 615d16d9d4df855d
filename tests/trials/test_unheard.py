"""Children of the control plane that outlive it for a moment: what they have to report is heard by nobody."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from modelbroker.trials import scorer, sender
from modelbroker.trials.frames import Head, Redact, Task, frame, task_frame

HEAD = Head(1, "127.0.0.1", 1, False, "/v1/messages", [], 5.0)  # nobody listens at port 1
TASK = Task(1, "127.0.0.1", 1, False, 5.0, (), "x-broker-errand", {}, Redact((), (), (), True), ())
CHILDREN = {
    "sender": (sender.serve, b"".join(frame(HEAD, b"{}"))),
    "scorer": (scorer.serve, task_frame(TASK)),
}


@pytest.mark.parametrize("name", CHILDREN)
def test_a_report_that_nobody_hears_is_no_error(name: str) -> None:
    serve: Callable[[asyncio.StreamReader, BinaryIO], Awaitable[None]]
    serve, said = CHILDREN[name]
    wrong: list[dict[str, Any]] = []

    async def run(reports: BinaryIO) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        frames = asyncio.StreamReader()
        serving = asyncio.ensure_future(serve(frames, reports))
        async with asyncio.timeout(30):
            while not goes_nowhere(reports):
                frames.feed_data(said)
                await asyncio.sleep(0.01)
        frames.feed_eof()
        await serving
        gc.collect()  # says which tasks nobody asked for their errors

    heard, told = os.pipe()
    os.close(heard)
    with os.fdopen(told, "wb") as reports:
        asyncio.run(run(reports))
    assert wrong == []


def goes_nowhere(reports: BinaryIO) -> bool:
    return Path(f"/proc/self/fd/{reports.fileno()}").readlink() == Path(os.devnull)
