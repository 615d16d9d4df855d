"""The law of classes: what a decision can find eligible is what Envoy was told of, neither more nor less."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.core.call import Caller, Facts, Surface
from modelbroker.core.catalog import Capabilities, Catalog, Limits, Member, Pool, Provider
from modelbroker.core.errors import CallError
from modelbroker.dialects import SURFACES
from modelbroker.policy import State, class_members, decide, served_dialect

DIALECTS = [
    ("openai-chat",),
    ("anthropic-messages",),
    ("gemini",),
    ("openai-responses", "openai-chat", "openai-embeddings"),
    ("openai-chat", "anthropic-messages"),
]
BOOLEANS = ("tools", "images", "documents", "audio", "schema", "reasoning")
# What only members of a call's own dialect can have, and what goes with one of the others.
OWN = ("hosted_tools", "files")
URLS = {"image_urls": "images", "document_urls": "documents"}
KNOWN = st.sampled_from([None, None, None, True, False])
SIZE = st.sampled_from([None, 10, 20, 30])
CAPABILITIES = st.one_of(
    st.just(Capabilities()),
    st.builds(
        Capabilities,
        context_tokens=SIZE,
        max_output_tokens=SIZE,
        choices=KNOWN,
        keeps_replies=KNOWN,
        chat=KNOWN,
        embeddings=KNOWN,
        **dict.fromkeys((*BOOLEANS, *OWN, *URLS), KNOWN),
    ),
)
NAMES = ["p0", "p1", "p2"]


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    providers = {name: Provider(name, draw(st.sampled_from(DIALECTS)), "http://h") for name in NAMES}
    pairs = draw(
        st.lists(
            st.tuples(st.sampled_from(NAMES), st.sampled_from(["m0", "m1"])),
            min_size=1,
            max_size=5,
            unique=True,
        )
    )
    members = tuple(
        Member(provider, model, draw(st.sampled_from([0, 1, 1, 1])), 0, draw(CAPABILITIES))
        for provider, model in pairs
    )
    wires = {dialect: draw(CAPABILITIES) for dialect in ("gemini", "anthropic-messages")}
    return Catalog(
        revision="r",
        providers=MappingProxyType(providers),
        callers=(),
        pools=MappingProxyType({"pool": Pool("pool", members)}),
        rules=(),
        limits=Limits(concrete_models=draw(st.booleans())),
        wires=MappingProxyType(wires),
    )


def facts_of(**fields: Any) -> Facts:
    """As dialects read them: what is to be fetched is an image or a document."""
    return Facts(**{name: value and fields.get(URLS.get(name, name)) for name, value in fields.items()})


FACTS = st.builds(
    facts_of,
    caller=st.just(Caller()),
    surface=st.sampled_from(SURFACES),
    model=st.sampled_from(["pool", "pool", "m0", "m1"]),
    context_tokens=st.sampled_from([0, 10, 15, 25, 35]),
    max_output_tokens=st.sampled_from([None, 10, 15, 25, 35]),
    choices=st.sampled_from([1, 1, 2]),
    same_dialect=st.sampled_from(["", "", "field"]),
    owners=st.sampled_from([(), (), (), ("p0",), ("p1",), ("p2",), ("p0", "p1"), ("nobody",)]),
    unowned_ids=st.sampled_from(["", "", "field"]),
    stateful=st.booleans(),
    **dict.fromkeys((*BOOLEANS, *OWN, *URLS), st.booleans()),
)
STATES = st.sets(st.sampled_from(NAMES), max_size=2).map(lambda out: State(dict.fromkeys(out, "out")))


@settings(max_examples=400, deadline=None)
@given(catalogs(), FACTS, STATES)
def test_every_decision_has_a_class_that_envoy_knows(catalog: Catalog, facts: Facts, state: State) -> None:
    pool = catalog.pools["pool"]
    try:
        decision = decide(facts, catalog, state)
    except CallError as error:
        assert error.status in (400, 404, 503)
        return
    assert decision.eligible in set(class_members(pool, catalog, state, SURFACES))
    assert {*decision.eligible} | {out.member for out in decision.ruled_out} == {*pool.members}
    assert decide(facts, catalog, state) == decision


@settings(max_examples=150, deadline=None)
@given(catalogs(), STATES)
def test_every_class_is_that_of_some_call(catalog: Catalog, state: State) -> None:
    pool = catalog.pools["pool"]
    classes = list(class_members(pool, catalog, state, SURFACES))
    assert len(set(classes)) == len(classes)
    for members in classes:
        assert any(
            eligible(facts, catalog, state) == members
            for facts in most_demanding(catalog, members)
            if all(served_dialect(catalog.providers[m.provider].dialects, facts.surface) for m in members)
        ), members


def eligible(facts: Facts, catalog: Catalog, state: State) -> tuple[Member, ...]:
    try:
        return decide(facts, catalog, state).eligible
    except CallError:  # e.g. of these members, none serves this operation
        return ()


def most_demanding(catalog: Catalog, members: tuple[Member, ...]) -> Iterable[Facts]:
    """For each operation the call that asks for all that these members have in common."""
    for surface in SURFACES:
        can = [m.capabilities for m in members]
        providers = [catalog.providers[m.provider] for m in members]
        is_own = all(surface.dialect in p.dialects for p in providers)
        wires = [
            catalog.wires.get(served_dialect(p.dialects, surface), Capabilities())
            for p in providers
            if surface.dialect not in p.dialects
        ]
        limits: dict[str, Any] = {
            name: min((getattr(c, name) for c in can if getattr(c, name) is not None), default=10**6)
            for name in ("context_tokens", "max_output_tokens")
        }
        common = {
            name: all(getattr(c, name) is not False for c in [*can, *wires])
            for name in (*BOOLEANS, *OWN, "choices", "keeps_replies")
        }
        for name, what in URLS.items():
            common[name] = common[what] and all(fetches(name, m, surface, catalog) for m in members)
        one_account = is_own and len({p.name for p in providers}) == 1
        one_model = catalog.limits.concrete_models and len({m.model for m in members}) == 1
        yield Facts(
            caller=Caller(),
            surface=surface,
            model=members[0].model if one_model else "pool",
            choices=2 if common["choices"] else 1,
            stateful=is_own and common["keeps_replies"],
            same_dialect="field" if is_own else "",
            owners=(providers[0].name,) if one_account else (),
            **limits,
            **{name: common[name] for name in (*BOOLEANS, *URLS)},
            **{name: is_own and common[name] for name in OWN},
        )


def fetches(name: str, member: Member, surface: Surface, catalog: Catalog) -> bool:
    """Of what is said of a dialect, a member may say otherwise."""
    said = getattr(member.capabilities, name)
    dialect = served_dialect(catalog.providers[member.provider].dialects, surface)
    if said is not None or dialect == surface.dialect:
        return said is not False
    return getattr(catalog.wires.get(dialect, Capabilities()), name) is not False


def test_surfaces_are_told_apart_by_what_serves_them() -> None:
    """Two operations that are served alike make no further classes."""
    provider = Provider("p0", ("openai-chat",), "http://h")
    members = (Member("p0", "m0"), Member("p0", "m1", capabilities=Capabilities(images=False)))
    catalog = Catalog("r", {"p0": provider}, (), {"pool": Pool("pool", members)}, ())
    two = [Surface("x", "openai-chat", "/x", "/x"), Surface("y", "openai-chat", "/y", "/y")]
    assert set(class_members(catalog.pools["pool"], catalog, State(), two)) == {members, members[:1]}
