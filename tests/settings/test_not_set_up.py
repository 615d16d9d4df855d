"""Built-in providers that a pool names and `providers` does not, though they need something said there."""

from __future__ import annotations

import pytest
from modelbroker.dialects import BUILT, KNOWN
from modelbroker.settings import Loaded, SettingsError, compile_texts
from modelbroker.settings.builtin import builtins

NEEDY = [name for name, builtin in builtins().items() if builtin.needs]


def load(text: str) -> Loaded:
    return compile_texts({"a.yaml": text}, dialects=KNOWN, built=BUILT)


def said_of(name: str) -> tuple[str, str]:
    """(what it lacks, what would be right)."""
    builtin = builtins()[name]
    return (
        f"the provider {name} has no {', '.join(builtin.needs)}",
        f"add to `providers`: - {{name: {name}, {builtin.example}}}",
    )


def test_bedrock_and_vertex_are_among_them() -> None:
    assert {"azure-openai", "bedrock", "bedrock-anthropic", "vertex", "vertex-anthropic"} <= set(NEEDY)


@pytest.mark.parametrize("name", NEEDY)
def test_others_in_the_pool_can_serve_so_it_is_a_warning(name: str) -> None:
    members = f"[{{provider: openai, model: m}}, {{provider: {name}, model: m}}]"
    loaded = load(f"pools: [{{name: p, members: {members}}}]")
    lacks, right = said_of(name)
    assert [str(warning) for warning in loaded.warnings] == [
        f"a.yaml:1: pools[0].members[1].provider: {lacks}, so none of its members serves calls; {right}"
    ]
    assert loaded.catalog.providers[name].base_url == ""


@pytest.mark.parametrize("name", NEEDY)
def test_the_pool_could_never_serve_so_it_is_an_error(name: str) -> None:
    members = f"[{{provider: {name}, model: m}}, {{provider: {name}, model: n}}]"
    with pytest.raises(SettingsError) as refused:
        load(f"pools: [{{name: p, members: {members}}}]")
    lacks, right = said_of(name)
    assert str(refused.value) == f"a.yaml:1: pools[0].members[0].provider: {lacks}; {right}"


@pytest.mark.parametrize("name", NEEDY)
def test_an_entry_without_it_is_an_error_whoever_else_is_in_the_pool(name: str) -> None:
    members = f"[{{provider: openai, model: m}}, {{provider: {name}, model: m}}]"
    with pytest.raises(SettingsError) as refused:
        load(f"pools: [{{name: p, members: {members}}}]\nproviders: [{{name: {name}}}]")
    lacks, right = said_of(name)
    assert str(refused.value) == f"a.yaml:2: providers[0]: {lacks}; {right}"


def test_each_pool_is_judged_for_itself() -> None:
    text = """\
pools:
  - {name: good, members: [{provider: bedrock, model: m}, {provider: openai, model: m}]}
  - {name: never, members: [{provider: vertex, model: m}, {provider: bedrock, model: m}]}
"""
    with pytest.raises(SettingsError) as refused:
        load(text)
    fields = [(problem.line, problem.field) for problem in refused.value.problems]
    assert fields == [(3, "pools[1].members[0].provider"), (3, "pools[1].members[1].provider")]
