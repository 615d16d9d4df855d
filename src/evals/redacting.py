"""What of texts is not written down: the redaction of the configuration's `capture`, which is on where
nothing is said. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..policy.patterns import FINDERS, custom
from ..policy.redaction import Redaction, redacted
from .answers import Answer, Used
from .outcomes import Outcome, Scored

Redact = Callable[[str], str]


def redact_with(patterns: Sequence[str], more: Sequence[tuple[str, str]]) -> Redact:
    """`patterns`: names of built-in ones; `more`: (name, regular expression). Each text is looked at by
    itself."""
    finders = {name: FINDERS[name] for name in patterns if name in FINDERS}
    finders |= {name: custom(expression) for name, expression in more}
    redaction = Redaction(finders)

    def redact(text: str) -> str:
        return redacted(text.encode("utf-8", "replace"), redaction, is_stream=False).body.decode()

    return redact


def redacted_outcome(outcome: Outcome, redact: Redact) -> Outcome:
    answer = outcome.answer
    if answer is None:
        return replace(outcome, code=redact(outcome.code))
    calls = tuple(Used(call.name, _value(call.arguments, redact)) for call in answer.calls)
    return replace(outcome, answer=Answer(redact(answer.text), calls, answer.stop, answer.refused))


def redacted_score(scored: Scored, redact: Redact) -> Scored:
    return replace(scored, why=redact(scored.why)) if scored.why else scored


def _value(value: object, redact: Redact) -> object:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_value(one, redact) for one in value]
    if isinstance(value, dict):
        return {name: _value(one, redact) for name, one in value.items()}
    return value
