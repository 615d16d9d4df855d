"""Where rollouts are taken to be: that is in no configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..core.catalog import Catalog
from ..core.trials import Rollout, Stage
from .arms import Arms

RECORDED, AT, OFF = "recorded", "at", "off"


class Assumed(NamedTuple):
    """`how` is RECORDED (each call as it was), AT (all the time at `stage`), or OFF (rolled back)."""

    rollout: Rollout
    how: str
    stage: Stage | None = None


def rollouts_of(catalog: Catalog) -> dict[str, Rollout]:
    """By name."""
    found = [one.rollout for one in catalog.trials.values() if one.rollout is not None]
    return {rollout.name: rollout for rollout in found}


def stages_said(catalog: Catalog, said: Iterable[str]) -> dict[str, str]:
    """`STAGE`, or `NAME=STAGE` of one rollout → rollout → stage. ValueError says what would be right."""
    rollouts, words = rollouts_of(catalog), {}
    for text in said:
        name, separator, word = text.rpartition("=")
        if not rollouts:
            raise ValueError(f"--rollout-stage {text}: the new configuration has no rollout")
        if separator and name not in rollouts:
            raise ValueError(
                f"--rollout-stage {text}: there is no rollout {name!r}; there are {_listed(rollouts)}"
            )
        meant = [name] if separator else list(rollouts)
        fits = [one for one in meant if _is_word(rollouts[one], word)]
        if not fits:
            those = "; ".join(f"{one}: {_stages(rollouts[one])}" for one in meant)
            raise ValueError(
                f"--rollout-stage {text}: there is no stage {word!r}; give one of them by its name or number "
                f"({those}), `{RECORDED}` or `{OFF}`"
            )
        words.update(dict.fromkeys(fits, word))
    return words


def assumed_of(catalog: Catalog, words: Mapping[str, str], arms: Arms) -> dict[str, Assumed]:
    """Rollout → where it is taken to be. Where nothing is said: as its calls are recorded, if there are any,
    else at its last stage, where all of it is done. ValueError where nothing is recorded."""
    known = arms.names()
    return {
        name: _assumed(rollout, words.get(name, ""), name in known)
        for name, rollout in rollouts_of(catalog).items()
    }


def _assumed(rollout: Rollout, word: str, is_recorded: bool) -> Assumed:
    if word == RECORDED and not is_recorded:
        raise ValueError(
            f"--rollout-stage {RECORDED}: no recorded call is part of the rollout {rollout.name}; give a "
            f"stage ({_stages(rollout)})"
        )
    if word == OFF:
        return Assumed(rollout, OFF)
    if word == RECORDED or (not word and is_recorded):
        return Assumed(rollout, RECORDED)
    return Assumed(rollout, AT, stage_named(rollout, word) or rollout.stages[-1])


def stage_named(rollout: Rollout, word: str) -> Stage | None:
    """By its name, or its number from 1."""
    for number, stage in enumerate(rollout.stages, 1):
        if word in (stage.name, str(number)):
            return stage
    return None


def _is_word(rollout: Rollout, word: str) -> bool:
    return word in (RECORDED, OFF) or stage_named(rollout, word) is not None


def _stages(rollout: Rollout) -> str:
    return ", ".join(stage.name for stage in rollout.stages)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
