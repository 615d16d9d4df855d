"""Configurations that went wrong: good ones with any node dropped, renamed, retyped or doubled."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import yaml

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
SHIPPED = (Path(__file__).parents[3] / "config" / "modelbroker.yaml").read_text(encoding="utf-8")
# With what the shipped one has not: every section, and the fields that are seldom given.
FULL = """\
providers:
  - {name: openai, headers: {x-a: "1"}, models: {gpt-5-mini: own-mini}}
  - name: mine
    dialect: [openai-chat, openai-embeddings]
    base_url: http://127.0.0.1:9/v1
    credential: {env: MINE_KEY}
    auth: api-key
    region: eu
    api_version: "1"
callers:
  - {name: c1, key: {sha256: 9567b0c0e3297724f42961f13fd3a1cf0e46147901bba63b51c49a743843e769}, team: t}
  - {name: c2, keys: [{env: A}, {file: /nowhere}], pools: [p*], trusted_for: [feature], tier: x}
pools:
  - name: p1
    failover: 2
    aliases: [a*, b]
    timeouts: {connect: 1s, first_event: 10s, reply: 5m}
    ejection: {consecutive_errors: 4, base: 1s, max: 1m}
    members:
      - {provider: openai, model: gpt-5-mini, weight: 7}
      - {provider: mine, model: m2, priority: 1}
      - {provider: anthropic, model: claude, priority: 2, weight: 3}
  - {name: p2, ejection: off, members: [{provider: mine, model: m}]}
rules:
  - {match: {tier: x, context.tokens: ">1k", task: [a, b]}, pool: p2}
  - {match: {team: {not: [a, "b*"]}}, deny: no}
  - {name: last, match: {}, pool: p1}
limits: {request_bytes: 1MiB, concurrency: 50, idle: 1m, concrete_models: true}
listen: {port: 99}
facts: {headers: {task: x-task}}
"""
_SCALARS = """\
0|-1|1|3.5|1e400|99999999999999999999|~||true|off|yes|none|"x"|'|"|*|*a|&a x|!!int "x"|!secret|%|@|`
- x|a: b|a b|[]|{}|[[]]|{a: b}|[1, [2, {c: d}]]|{<<: {name: x}}|2020-01-01|0x1F|0o7|.inf|.nan
up to 3|up to 99|10s|-1s|1 year|32MiB|1KB|>100k|">100k"|"<=0"|"*"|"a*b*c*d*e*f*"|https://h/v1
http://u:p@h/|ftp://h|http://[::1]:8/|http://h:99999|unix:/x|::1|0.0.0.0|localhost|bearer|x-api-key
openai-chat|anthropic-messages|gemini|anthropic|openai|bedrock|p1|reasoning-tier|standard-tier
{env: A}|{file: /etc/passwd}|{sha256: abc}|{env: ""}|"\\0"|"\\ud800"|"\\U0001F600"|größe
priority-weighted|cheapest|short-context|host|x-broker-pool|authorization|content-length|:path|"a\\r\\nb: c"
*_|{not: x}|
""".replace("\n", "|").split("|")


def _nodes(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [
            node,
            *(inner for key, value in node.value for each in (key, value) for inner in _nodes(each)),
        ]
    if isinstance(node, yaml.SequenceNode):
        return [node, *(inner for value in node.value for inner in _nodes(value))]
    return [node]


def _value(r: random.Random) -> yaml.Node:
    text = r.choice(_SCALARS)
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except (yaml.YAMLError, UnicodeError, ValueError):
        node = None
    return node or yaml.ScalarNode("tag:yaml.org,2002:str", text)


def _change(root: yaml.Node, r: random.Random) -> None:
    nodes = _nodes(root)
    holders = [node for node in nodes if isinstance(node, yaml.CollectionNode) and node.value]
    if not holders:
        return
    holder = r.choice(holders)
    at = r.randrange(len(holder.value))
    kind = r.randrange(7)
    if kind == 0:
        del holder.value[at]
    elif kind == 1:
        holder.value.insert(r.randrange(len(holder.value) + 1), holder.value[at])
    elif kind == 2:
        r.shuffle(holder.value)
    elif isinstance(holder, yaml.SequenceNode):
        holder.value[at] = r.choice(nodes) if kind == 3 and holder.value[at] is not root else _value(r)
    elif kind == 3:
        holder.value[at] = (
            r.choice([n for n in nodes if isinstance(n, yaml.ScalarNode)]),
            holder.value[at][1],
        )
    elif kind == 4:
        holder.value[at] = (_value(r), holder.value[at][1])
    elif kind == 5:
        holder.value[at] = (holder.value[at][0], _other(holder, nodes, r))
    else:
        holder.value[at] = (holder.value[at][0], _value(r))


def _other(holder: yaml.Node, nodes: list[yaml.Node], r: random.Random) -> yaml.Node:
    """Another node, for a second place; a node in itself can't be written."""
    other = r.choice(nodes)
    return _value(r) if any(node is holder for node in _nodes(other)) else other


def _textual(text: str, r: random.Random) -> str:
    lines = text.split("\n")
    at = r.randrange(len(lines))
    match r.randrange(7):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, r.choice(lines))
        case 2:
            lines[at] = " " * r.randrange(1, 5) + lines[at]
        case 3:
            lines[at] = lines[at][r.randrange(len(lines[at]) + 1) :]
        case 4:
            lines[at] = lines[at].replace(
                r.choice(": ,{}[]-\"'"), r.choice(("", "\t", ":", "\x00", "}", '"')), 1
            )
        case 5:
            del lines[at:]
        case _:
            lines[at] = f"{lines[at]}{r.choice(_SCALARS)}"
    return "\n".join(lines)


def fuzzed_yaml(r: random.Random, text: str) -> str:
    for _ in range(r.choice((1, 1, 1, 2, 4))):
        if r.random() < 0.3:
            text = _textual(text, r)
            continue
        try:
            root = yaml.compose(text, Loader=_LOADER)
            if root is not None:
                _change(root, r)
                # Doubled nodes become anchors and aliases: those are YAML, too.
                text = yaml.serialize(root, Dumper=_DUMPER, allow_unicode=True)
        except (yaml.YAMLError, UnicodeError, RecursionError):
            text = _textual(text, r)
    return text
