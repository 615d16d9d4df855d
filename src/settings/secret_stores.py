"""The configuration's stores of secrets, and the references to what is in them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..core.catalog import SecretRef
from ..core.secrets import CLOUDS, KINDS, Secrets, StorePlace
from .audit_sinks import references
from .explain import read_one
from .fields import Model
from .identities import is_identity
from .merge import Merged
from .problems import listing, show
from .secret_schema import AppRoleIn, SecretsIn, VaultIn
from .yamltext import Path

# What stands in a reference beside its place: everything else is the name of a store.
_OWN_KINDS = ("env", "file", "sha256")
_BESIDE = ("field", "version")
# What is meant by words that are near to these.
_MEANT = MappingProxyType({"environment": "env", "env": "env", "file": "file", "sha256": "sha256"})
_TAKEN = ("none", "mock", "url", "store")
_WAYS = ("token", "approle", "kubernetes")
_PLACES: tuple[tuple[str, ...], ...] = (
    ("redis", "credential"),
    ("cache", "redis"),
    ("ledger", "url"),
    ("capture", "store"),
    ("capture", "encryption", "key"),
    ("capture", "encryption", "old_keys"),
    ("audit", "key"),
)


def read_secrets(merged: Merged) -> Secrets:
    """Problems are noted: of the section itself, and of references to stores that are not there."""
    said = read_one(merged, ("secrets",), SecretsIn, merged.mappings["secrets"])
    secrets = secrets_of(merged, said)
    if said is not None:
        check_references(merged, [store.name for store in said.stores])
    return secrets


def secrets_of(merged: Merged, said: SecretsIn | None) -> Secrets:
    """Problems are noted: a store of no kind or of several, one name twice, a way to log in that is none."""
    if said is None:
        return Secrets()
    stores: dict[str, StorePlace] = {}
    for number, store in enumerate(said.stores):
        path: Path = ("secrets", "stores", number)
        kinds = [kind for kind in KINDS if getattr(store, kind) is not None]
        if store.name in stores or store.name in (*_OWN_KINDS, *_BESIDE, *_TAKEN):
            wrong = "stands twice" if store.name in stores else "means something else in references"
            merged.wrong((*path, "name"), f"{show(store.name)} {wrong}", "give another name")
        if len(kinds) != 1:
            wrong = f"has {listing(kinds)}" if kinds else "has no kind"
            merged.wrong(path, wrong, f"give exactly one of {listing(KINDS)}")
            continue
        place = _place(merged, (*path, kinds[0]), store.name, kinds[0], getattr(store, kinds[0]))
        stores[store.name] = place
    times = (said.refresh, said.keep, said.overlap)
    return Secrets(MappingProxyType(stores), *[ms // 1_000 for ms in times])


def _place(merged: Merged, path: Path, name: str, kind: str, said: Model) -> StorePlace:
    options = {
        option: str(value)
        for option in type(said).model_fields
        if isinstance(value := getattr(said, option), str) and value
    }
    credentials: dict[str, SecretRef] = {}
    if isinstance(said, VaultIn):
        ways = {way: found for way in _WAYS if (found := getattr(said.auth, way)) is not None}
        if len(ways) != 1:
            wrong = f"has {listing(list(ways))}" if ways else "has no way to log in"
            merged.wrong((*path, "auth"), wrong, f"give exactly one of {listing(_WAYS)}")
        for way, found in ways.items():
            options["auth"] = way
            if isinstance(found, SecretRef):
                credentials["token"] = found
            elif isinstance(found, AppRoleIn):
                credentials["secret_id"] = found.secret_id
                options |= {"role_id": found.role_id, "auth_mount": found.mount}
            else:
                options |= {"role": found.role, "auth_mount": found.mount, "token_file": found.token_file}
    return StorePlace(name, kind, MappingProxyType(options), MappingProxyType(credentials))


def check_references(merged: Merged, stores: list[str]) -> None:
    """Every reference to a store names one that there is."""
    for path, value in _references(merged):
        if is_identity(value):
            continue
        named = [key for key in value if key not in (*_OWN_KINDS, *_BESIDE)]
        if len(named) == 1 and named[0] not in stores:  # of several it is said already
            key = str(named[0])
            # It may be a secret that stands in the wrong place, and is repeated only where it can't be one.
            which = f"a store {key}" if key in KINDS else "a store"
            meant = difflib.get_close_matches(key, [*stores, *_MEANT], n=1, cutoff=0.7)
            named_stores = f"stores are {listing(stores)}" if stores else "add it to `secrets.stores`"
            right = f'did you mean "{_MEANT.get(meant[0], meant[0])}"?' if meant else named_stores
            if key in CLOUDS and path[0] == "providers":
                right = f"add it to `secrets.stores`; for the broker's own identity there say {key}"
            merged.wrong(path, f"names {which} that there is not", right)


def _references(merged: Merged) -> list[tuple[Path, dict[str, Any]]]:
    """Wherever a secret may be referred to."""
    found: list[tuple[Path, Any]] = []
    for section, names in (("providers", ("credential",)), ("callers", ("key", "keys"))):
        for number, entry in enumerate(merged.lists[section]):
            if isinstance(entry, dict):
                found += [((section, number, name), entry.get(name)) for name in names]
    for place in _PLACES:
        value: Any = merged.mappings
        for step in place:
            value = value.get(step) if isinstance(value, Mapping) else None
        found.append((place, value))
    for section in ("console", "admin"):
        users = merged.mappings[section].get("users")
        for number, user in enumerate(users if isinstance(users, list) else ()):
            if isinstance(user, dict):
                found.append(((section, "users", number, "token"), user.get("token")))
    otlp = merged.mappings["telemetry"].get("otlp")
    headers = otlp.get("headers") if isinstance(otlp, dict) else None
    if isinstance(headers, dict):
        found += [(("telemetry", "otlp", "headers", name), value) for name, value in headers.items()]
    sinks: Path = ("audit", "sinks")
    said = merged.mappings.get("audit", {}).get("sinks")
    found += [((*sinks, *path), value) for path, value in references(said)]
    flat: list[tuple[Path, dict[str, Any]]] = []
    for path, value in found:
        for number, one in enumerate(value) if isinstance(value, list) else [(-1, value)]:
            if isinstance(one, dict):
                flat.append(((*path, number) if number >= 0 else path, one))
    return flat
