"""Any node of a good configuration dropped, renamed, retyped or doubled: refused with a place, or a
configuration that Envoy could be given."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelbroker.cli.runtime import Overrides, Ready, prepare
from modelbroker.core.errors import Misconfigured
from modelbroker.dialects import BUILT, DEVIATIONS, KNOWN
from modelbroker.envoyapi import api
from modelbroker.settings import Loaded, SettingsError, compile_texts
from support.fuzzing import budget
from support.fuzzing.house import tell
from support.fuzzing.yamls import FULL, SHIPPED, fuzzed_yaml

pytestmark = pytest.mark.timeout(budget.timeout_s())
Record = Callable[[str, object], None]
ENVIRON = dict.fromkeys(("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "MINE_KEY", "A"), "secret")
PLACE = re.compile(r"^(a\.yaml|configuration):\d+: ")


def judged(text: str, source: str) -> Loaded | None:
    """What it compiles to; None where it is refused, every problem with its file and line."""
    try:
        return compile_texts({"a.yaml": text}, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS)
    except SettingsError as error:
        assert error.problems, source
        for problem in error.problems:
            assert PLACE.match(str(problem)), (source, str(problem), text)
            assert "\n" not in str(problem) and problem.right, (source, str(problem), text)
            assert problem.line <= text.count("\n") + 2, (source, str(problem), text)
        return None
    except Exception as error:
        raise AssertionError(f"{source}: {error!r}\n{text}") from error


def test_changed_nodes(record_property: Record) -> None:
    count, good = budget.cases("yaml"), 0
    for number in range(count):
        r = budget.rng("yaml", number)
        text = fuzzed_yaml(r, r.choice((SHIPPED, FULL)))
        good += judged(text, budget.name("yaml", number)) is not None
    assert 0.05 * count < good < 0.95 * count  # else the changes are too wild, or too tame
    tell("yaml", count, record_property)


def test_what_compiles_can_be_given_to_envoy(record_property: Record) -> None:
    count, built, number = budget.cases("built"), 0, 0
    encoded: set[tuple[str, str]] = set()
    while built < count:
        r = budget.rng("built", number)
        text = fuzzed_yaml(r, r.choice((SHIPPED, FULL)))
        name, number = budget.name("built", number), number + 1
        if judged(text, name) is None:
            continue
        built += 1
        try:
            ready = prepare({"a.yaml": text}, Overrides(), ENVIRON)
            _encode(ready, encoded)
        except Misconfigured as refused:
            assert refused.code and refused.message, name
        except Exception as error:
            raise AssertionError(f"{name}: {error!r}\n{text}") from error
    tell("built", built, record_property)


def _encode(ready: Ready, encoded: set[tuple[str, str]]) -> None:
    """`encoded`: type and version, which is a hash of the content, of what was encoded well before."""
    for type_url, resources in ready.snapshot.resources.items():
        for resource in resources.values():
            if (type_url, resource.version) not in encoded:
                assert resource.encoded(api(), type_url)
                encoded.add((type_url, resource.version))


CHANGES = st.lists(st.integers(0, 2**32), min_size=1, max_size=4)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CHANGES, st.text(max_size=20), st.integers(0, 10_000))
def test_changed_nodes_and_any_text(seeds: list[int], text: str, at: int) -> None:
    """Hypothesis picks the changes, so that it can make a failing row of them shorter."""
    changed = FULL
    for seed in seeds:
        changed = fuzzed_yaml(random.Random(seed), changed)
    at %= len(changed) + 1
    judged(changed[:at] + text + changed[at:], f"seeds {seeds}, {text!r} at {at}")


def test_the_promised_number_of_cases() -> None:
    assert budget.promised() >= budget.PROMISED
