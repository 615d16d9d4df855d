"""A user's own scorer: a Python function, by an entry point of the group `modelbroker.scorers` or as
`module:function`.

It gets one mapping (`request`, `answer`, `reference`, `expected`, `slices`) and gives a number from 0 to 1,
or that and why.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from typing import Any

from ..core.errors import Misconfigured
from .answers import Answer
from .cases import Case
from .scoring import Score

GROUP = "modelbroker.scorers"
Function = Callable[[Mapping[str, Any]], Any]


def function_named(name: str) -> Function:
    """Misconfigured where there is none."""
    module, separator, attribute = name.partition(":")
    try:
        if separator:
            found: Any = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        else:
            entries = importlib.metadata.entry_points(group=GROUP, name=name)
            found = next(iter(entries)).load() if entries else None
    except (ImportError, AttributeError) as error:
        raise Misconfigured(500, "no_scorer", f"the scorer {name} can't be had: {error}") from None
    except (Exception, SystemExit) as error:  # of the user's module, which may do anything
        said = f"{type(error).__name__}: {error}"
        raise Misconfigured(500, "no_scorer", f"the scorer {name} can't be had: {said}") from None
    if not callable(found):
        why = "is no function" if separator else f"is no entry point of the group {GROUP}"
        raise Misconfigured(500, "no_scorer", f"the scorer {name} {why}; give NAME or module:function")
    function: Function = found
    return function


def scored_by(function: Function, case: Case, answer: Answer, reference: Answer | None) -> Score:
    """ValueError in words where it fails, or gives no number from 0 to 1."""
    given = {
        "request": case.request,
        "answer": answer.as_json(),
        "reference": reference.as_json() if reference is not None else None,
        "expected": case.expected,
        "slices": dict(case.slices),
    }
    try:
        found = function(given)
    except (Exception, SystemExit) as error:  # `sys.exit` in it ends nobody else
        raise ValueError(f"{type(error).__name__}: {error}") from None
    value, why = found if isinstance(found, tuple) and len(found) == 2 else (found, "")
    if isinstance(value, bool):
        value = float(value)
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"it gave {value!r}, which is no number from 0 to 1")
    return Score(float(value), str(why))
