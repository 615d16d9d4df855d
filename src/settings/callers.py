"""Callers and issuers of tokens: YAML → what the catalog holds of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..core.catalog import CallerEntry
from ..core.globs import glob_matches
from ..core.identity import CLAIMED_FACTS, Issuer, Jwks, TokenMatch
from .identity import IssuerIn, TokenIn
from .merge import Merged
from .problems import listing, show, suggestion
from .schema import CallerIn
from .values import HOW_TO_HASH
from .yamltext import Path


def read_issuers(merged: Merged, entries: list[IssuerIn | None]) -> tuple[Issuer, ...]:
    names = merged.names("issuers")
    result: dict[str, Issuer] = {}
    issuers: dict[str, Path] = {}
    for index, entry in enumerate(entries):
        if entry is None:
            continue
        path: Path = ("issuers", index)
        if names[entry.name] != index:
            wrong = f"the name {show(entry.name)} is taken already at {{also}}"
            also = ("issuers", names[entry.name], "name")
            merged.wrong((*path, "name"), wrong, "give each issuer its own name", also=also)
        if entry.issuer in issuers:
            wrong = f"the issuer {show(entry.issuer)} stands already at {{also}}"
            right = "keep one, with all of its audiences: callers tell its tokens apart by `match`"
            merged.wrong((*path, "issuer"), wrong, right, also=issuers[entry.issuer])
        issuers.setdefault(entry.issuer, (*path, "issuer"))
        for fact in entry.claims:
            if fact not in CLAIMED_FACTS:
                right = suggestion(fact, CLAIMED_FACTS, f"give one of {listing(CLAIMED_FACTS)}")
                merged.wrong((*path, "claims", fact), f"{show(fact)} is no fact that a claim can tell", right)
        result[entry.name] = Issuer(
            entry.name,
            entry.issuer,
            entry.audiences,
            _jwks(merged, path, entry),
            tuple(sorted(entry.claims.items())),
        )
    return tuple(issuer for _, issuer in sorted(result.items()))


def _jwks(merged: Merged, path: Path, entry: IssuerIn) -> Jwks:
    said, here = entry.jwks, (*path, "jwks")
    if bool(said.file) == bool(said.url):
        wrong = "has both file and url" if said.file else "has neither file nor url"
        merged.wrong(here, wrong, "give {url: https://…} or {file: PATH}")
    for name in ("cache", "ca_file"):
        if said.file and name in said.model_fields_set:
            merged.wrong(
                (*here, name), "is about keys that are fetched, and these are in a file", "leave it out"
            )
    return Jwks(said.file or "", said.url or "", said.cache, said.ca_file or "")


def read_callers(
    merged: Merged, entries: list[CallerIn | None], has_client_ca: bool
) -> tuple[CallerEntry, ...]:
    names = merged.names("callers")
    result: dict[str, CallerEntry] = {}
    digests: dict[str, Path] = {}
    for index, entry in enumerate(entries):
        if entry is None:
            continue
        path: Path = ("callers", index)
        if names[entry.name] != index:
            wrong = f"the name {show(entry.name)} is taken already at {{also}}"
            right = "give each caller its own name; one with two keys lists them in `keys`"
            merged.wrong((*path, "name"), wrong, right, also=("callers", names[entry.name], "name"))
        _check_keys(merged, path, entry, digests)
        _check_pools(merged, path, entry.pools)
        for i, word in enumerate(entry.trusted_for):
            if word not in ("feature", "customer"):
                right = suggestion(word, ("feature", "customer"), "give feature or customer")
                merged.wrong((*path, "trusted_for", i), f"{show(word)} can't be set by header", right)
        if entry.spiffe and not has_client_ca:
            right = "add client_ca_file: PATH to listen.tls"
            merged.wrong((*path, "spiffe"), "clients are not asked for certificates", right)
        result[entry.name] = CallerEntry(
            name=entry.name,
            keys=(*([entry.key] if entry.key else ()), *entry.keys),
            agent=entry.agent,
            user=entry.user,
            team=entry.team,
            customer=entry.customer,
            tier=entry.tier,
            pools=tuple(entry.pools),
            trusted_for=frozenset(entry.trusted_for),
            token=_token(merged, path, entry.jwt),
            spiffe=tuple(entry.spiffe),
            # Without it the order of entries means nothing, and makes no other revision.
            purpose=entry.purpose,
            order=index if entry.jwt or entry.spiffe else 0,
        )
    _check_overlaps(merged, entries)
    return tuple(caller for _, caller in sorted(result.items()))


def _check_keys(merged: Merged, path: Path, entry: CallerIn, digests: dict[str, Path]) -> None:
    keys = [(entry.key, (*path, "key"))] if entry.key else []
    keys += [(key, (*path, "keys", i)) for i, key in enumerate(entry.keys)]
    if entry.key and entry.keys:
        merged.wrong((*path, "key"), "has both key and keys", "put all of its keys into `keys`")
    elif not keys and entry.jwt is None and not entry.spiffe:
        merged.wrong((*path, "key"), "the caller has no key", f"{HOW_TO_HASH}; or give `jwt` or `spiffe`")
    for key, here in keys:
        if str(key) in digests:
            right = "give each caller keys of its own"
            merged.wrong(here, "the same key stands already at {also}", right, also=digests[str(key)])
        digests.setdefault(str(key), here)


def _check_pools(merged: Merged, path: Path, patterns: Iterable[str]) -> None:
    pools: Mapping[str, int] = merged.names("pools")
    for i, name in enumerate(patterns):
        if not is_glob(name) and name not in pools:
            right = suggestion(name, pools, f"the pools are {listing(pools) or 'none so far'}")
            merged.wrong((*path, "pools", i), f"there is no pool {show(name)}", right)


def is_glob(name: str) -> bool:
    return "*" in name or "?" in name


def _token(merged: Merged, path: Path, said: TokenIn | None) -> TokenMatch | None:
    if said is None:
        return None
    issuers = merged.names("issuers")
    if said.issuer not in issuers:
        right = suggestion(said.issuer, issuers, f"the issuers are {listing(issuers) or 'none so far'}")
        merged.wrong((*path, "jwt", "issuer"), f"there is no issuer {show(said.issuer)}", right)
    return TokenMatch(said.issuer, tuple(sorted(said.match.items())))


def _covering(name: str, patterns: Iterable[str]) -> str:
    """The first of the patterns that takes all that `name` would."""
    if is_glob(name):
        return ""
    return next((pattern for pattern in patterns if glob_matches(pattern, name)), "")


def _check_overlaps(merged: Merged, entries: list[CallerIn | None]) -> None:
    """Who is never met: one token or certificate stands for the first caller that it matches."""
    spiffe: dict[str, Path] = {}
    tokens: dict[tuple[object, ...], Path] = {}
    everybody: dict[str, Path] = {}  # issuer → who takes all of its tokens
    for index, entry in enumerate(entries):
        if entry is None:
            continue
        path: Path = ("callers", index)
        for i, pattern in enumerate(entry.spiffe):
            here: Path = (*path, "spiffe", i)
            if pattern in spiffe:
                right = "let one caller have it"
                merged.wrong(here, f"{pattern} stands already at {{also}}", right, also=spiffe[pattern])
            elif earlier := _covering(pattern, spiffe):
                wrong = f"{pattern} never gets here: an earlier caller has {earlier}"
                merged.warn(here, wrong, "put what is more special first")
            spiffe.setdefault(pattern, here)
        if entry.jwt is None:
            continue
        here = (*path, "jwt")
        key = (entry.jwt.issuer, *sorted(entry.jwt.match.items()))
        if key in tokens:
            wrong = "the same tokens stand already for the caller at {also}"
            merged.wrong(here, wrong, "keep one", also=tokens[key])
        elif entry.jwt.issuer in everybody:
            wrong = f"no token gets here: an earlier caller takes all those of {entry.jwt.issuer}"
            merged.warn(here, wrong, "put the caller without `match` last")
        tokens.setdefault(key, here)
        if not entry.jwt.match:
            everybody.setdefault(entry.jwt.issuer, here)
    used = {entry.jwt.issuer for entry in entries if entry is not None and entry.jwt is not None}
    for name, index in merged.names("issuers").items():
        if name not in used:
            wrong = f"no caller is known by tokens of {name}"
            merged.warn(("issuers", index), wrong, f"add `jwt: {name}` to a caller, or take the issuer out")
