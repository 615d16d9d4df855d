"""The words of `modelbroker rollout`. Nothing heavy is imported before it runs."""

from __future__ import annotations

import argparse

from .ledger_parser import Commands, Make
from .options import commanded, token_of

_WORDS = {
    "status": "where rollouts are, with the figures of both arms and what each gate says",
    "pause": "stay at this stage; a gate that fails rolls back all the same",
    "resume": "go on; one that was rolled back begins anew",
    "promote": "go on to the next stage, whatever gates say",
    "rollback": "let no call go to the candidate any more",
}


def add(commands_of: Commands, make: Make) -> None:
    command = make(
        commands_of,
        "rollout",
        "say where a running broker's rollouts are, or command one of them",
        "  modelbroker rollout status\n"
        "  modelbroker rollout pause 'reasoning-tier>openai/gpt-5-mini'\n"
        "  modelbroker rollout rollback try-2",
    )
    commanded(command)
    command.add_argument("--format", choices=("table", "json"), default="table", help="of status")
    words = "; ".join(f"{word}: {text}" for word, text in _WORDS.items())
    command.add_argument("word", choices=tuple(_WORDS), metavar="WORD", help=words)
    command.add_argument("rollout", nargs="*", metavar="ROLLOUT", help="its name; of status: default all")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from ..core.errors import Misconfigured
    from .rollout import print_rollouts, say

    if options.word == "status":
        return print_rollouts(options.admin, options.rollout, options.format)
    if len(options.rollout) != 1:
        message = f"name the one rollout that is to {options.word}: modelbroker rollout status lists them"
        raise Misconfigured(500, "which_rollout", message)
    return say(options.admin, options.rollout[0], options.word, token_of(options))
