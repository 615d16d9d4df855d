"""Declared and built-in providers → core's."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ..core.catalog import Auth, Capabilities, Identity, Provider, SecretRef
from ..core.deviation import Deviation
from ..core.globs import glob_matches
from ..core.secrets import AWS
from .builtin import Builtin, builtins
from .identities import compiled
from .identity_checks import misplaced
from .merge import Merged
from .models import capabilities_of, overlaid
from .problems import listing, show, suggestion
from .schema import PoolIn, ProviderIn
from .yamltext import Path

AUTHS = {
    "bearer": Auth.BEARER,
    "x-api-key": Auth.X_API_KEY,
    "api-key": Auth.API_KEY,
    "x-goog-api-key": Auth.X_GOOG_API_KEY,
    "aws-sigv4": Auth.AWS_SIGV4,
    "none": Auth.NONE,
}
# Variant → the dialects that have it, and → the fields that its paths need.
VARIANTS = {
    "azure": frozenset(("openai-chat", "openai-responses", "openai-embeddings")),
    "bedrock": frozenset(("anthropic-messages",)),
    "vertex": frozenset(("anthropic-messages", "gemini")),
}
# Dialects whose calls name files, and other things at an account, beside openai-chat.
_NAMES_FILES = frozenset(("openai-responses", "anthropic-messages"))
# Versions of Azure's dated API before this one refuse stream_options.
# Source: https://github.com/Azure/azure-rest-api-specs/issues/30810
_AZURE_TELLS_USAGE_SINCE = "2024-09-01"
_IN_PATHS = {"azure": ("api_version",), "vertex": ("project", "region")}
# Vertex's endpoints that are not of one region, as Google's and Anthropic's SDKs know them.
_VERTEX_HOST = "{region}-aiplatform"
_VERTEX_WIDE = {"global": "aiplatform", "us": "aiplatform.us.rep", "eu": "aiplatform.eu.rep"}

_KINDS = {bool: "true or false", str: "a text", tuple: "a list of texts"}

Said = list[tuple[str, Mapping[str, Any]]]  # patterns of models, what each says of them


class Providers:
    """Which providers there are, and which of them members use."""

    def __init__(
        self,
        merged: Merged,
        declared: list[ProviderIn | None],
        dialects: Collection[str],
        built: Collection[str],
        deviations: Mapping[str, Mapping[str, Deviation]] | None = None,
    ) -> None:
        self.merged = merged
        self.dialects = dialects
        self.built = built
        self.deviations = deviations
        self.declared_at = merged.names("providers")  # also those that are otherwise wrong
        self.known = {*builtins(), *self.declared_at}
        self.used: dict[str, Path] = {}  # name → the first member that uses it
        # Built-in ones that need an entry and have none → what is wrong, and what would be right.
        self.not_set_up: dict[str, tuple[str, str]] = {}
        self.result: dict[str, Provider] = {}
        self.said: dict[str, Said] = {}  # name → what is said of its models, the later wins
        for index, entry in enumerate(declared):
            if entry is not None:
                self._declare(index, entry)

    def use(self, pools: list[PoolIn | None]) -> None:
        """Check what members refer to, and take in the built-in providers that they use."""
        for p, pool in enumerate(pools):
            names = raw_names(self.merged, p) if pool is None else [m.provider for m in pool.members]
            for m, name in enumerate(names):
                if name is not None and name not in self.used:
                    self._use(name, ("pools", p, "members", m, "provider"))
            if all(name in self.not_set_up for name in names):
                for name in dict.fromkeys(filter(None, names)):
                    path = ("pools", p, "members", names.index(name), "provider")
                    self.merged.wrong(path, *self.not_set_up[name])

    def need(self, name: str, path: Path) -> None:
        """The same for one that stands alone: without it nothing would come of what names it."""
        if name not in self.used:
            self._use(name, path)
        if name in self.not_set_up:
            self.merged.wrong(path, *self.not_set_up[name])

    def _use(self, name: str, path: Path) -> None:
        if name not in self.known:
            otherwise = (
                f"the built-in ones are {listing(builtins(), 99)}; declare others in `providers` "
                "with name, dialect and base_url"
            )
            self.merged.wrong(
                path, f"there is no provider {show(name)}", suggestion(name, self.known, otherwise)
            )
            return
        self.used[name] = path
        if name not in self.result and name not in self.declared_at:
            builtin = builtins()[name]
            if lack := self._lack(builtin, ProviderIn.model_construct(name=name)):
                # One more place for the same models, mostly, which this operator has not set up, as one
                # whose key is missing: the pool is good without it. A pool of such members only is an error
                # (`use`): it could never serve a call. So is an entry without what it needs (`_incomplete`):
                # somebody has begun to set it up. All this is the same for regions, projects and base URLs.
                self.not_set_up[name] = lack
                self.merged.warn(path, f"{lack[0]}, so none of its members serves calls", lack[1])
            self.result[name] = self._provider(ProviderIn(name=name), builtin)
            self.said[name] = _said(builtin.capabilities)
        provider = self.result.get(name)
        if provider is not None and not provider.built:
            self._warn(provider, path)

    def capabilities(self, name: str, model: str) -> Capabilities:
        """What a model can do at a provider, before a pool's member says otherwise."""
        provider = self.result.get(name)  # None: wrong elsewhere
        own = provider.own_model(model) if provider else model
        said = [
            what
            for pattern, what in self.said.get(name, ())
            if glob_matches(pattern, model) or glob_matches(pattern, own)
        ]
        return overlaid(capabilities_of(own, model), *(_told_by(provider) if provider else ()), *said)

    def idle(self, providers: Mapping[str, Provider]) -> list[str]:
        """Those that can serve no call, by what the configuration says."""
        return [name for name, one in providers.items() if not one.built or name in self.not_set_up]

    def finish(self) -> MappingProxyType[str, Provider]:
        """All of them by name. Those that are declared, not built and not used get their warning here."""
        for name, provider in self.result.items():
            if not provider.built and name not in self.used:
                self._warn(provider, ("providers", self.declared_at[name], "dialect"))
        return MappingProxyType(dict(sorted(self.result.items())))

    def _warn(self, provider: Provider, path: Path) -> None:
        spoken = listing(provider.dialects)
        wrong = f"this version can't speak {spoken} yet, so no member at {provider.name} serves calls"
        self.merged.warn(path, wrong, f"it speaks {listing(sorted(self.built))}")

    def _declare(self, index: int, entry: ProviderIn) -> None:
        path: Path = ("providers", index)
        first = self.declared_at[entry.name]
        if first != index:
            wrong = f"the name {show(entry.name)} is taken already at {{also}}"
            right = "keep one of them, or give this one another name"
            self.merged.wrong((*path, "name"), wrong, right, also=("providers", first))
            return
        builtin = builtins().get(entry.name)
        if self._bad_words(path, entry, builtin) or self._incomplete(path, entry, builtin):
            return
        provider = self._provider(entry, builtin)
        self.result[entry.name] = provider
        said = {
            pattern: what.model_dump(by_alias=True, exclude_none=True)
            for pattern, what in entry.capabilities.items()
        }
        known = builtin or _built_in_at(provider)
        self.said[entry.name] = _said(known.capabilities if known else {}) + _said(said)
        if provider.built:
            self._check_auth(path, entry, provider, builtin)
            self._check_variant(path, provider)

    def _check_auth(self, path: Path, entry: ProviderIn, provider: Provider, builtin: Builtin | None) -> None:
        credential, here = provider.credential, (*path, "auth")
        if isinstance(credential, Identity) and entry.auth != "none":
            found = misplaced(credential.kind, provider, builtin, is_elsewhere=bool(entry.base_url))
            if found is not None:
                self.merged.wrong((*path, found.field), found.wrong, found.right)
                return
        if entry.auth not in (None, "none") and credential is None:
            right = "add credential: {env: NAME}, or give auth: none"
            self.merged.wrong(here, f"auth {entry.auth} needs a credential", right)
        elif entry.auth == "none" and entry.credential is not None:
            right = "give e.g. auth: bearer or x-api-key, or drop the credential"
            self.merged.wrong(here, "with auth none the credential is never sent", right)
        elif provider.auth is Auth.AWS_SIGV4 and not provider.region:
            wrong = "aws-sigv4 signs for a region, and there is none"
            self.merged.wrong((*path, "region"), wrong, "add e.g. region: us-east-1")

    def _check_variant(self, path: Path, provider: Provider) -> None:
        variant, dialects = provider.variant, provider.dialects
        if variant and not VARIANTS[variant].issuperset(dialects):
            right = f"{variant} is for {listing(sorted(VARIANTS[variant]))}"
            wrong = f"{listing(dialects)} has no variant {variant}"
            self.merged.wrong((*path, "variant"), wrong, right)
            return
        for name in _IN_PATHS.get(variant, ()):
            if not getattr(provider, name):
                wrong = f"the variant {variant} has it in its paths, and there is none"
                self.merged.wrong((*path, name), wrong, f"add {name}: …")

    def _bad_words(self, path: Path, entry: ProviderIn, builtin: Builtin | None) -> bool:
        before = len(self.merged.problems)
        for i, dialect in enumerate(entry.dialect or ()):
            if dialect not in self.dialects:
                right = suggestion(
                    dialect, self.dialects, f"the dialects are {listing(sorted(self.dialects))}"
                )
                here = (*path, "dialect", i)
                self.merged.wrong(here, f"there is no dialect {show(dialect)}", right)
        if entry.dialect is not None and not entry.dialect:
            right = f"give one or more of {listing(sorted(self.dialects))}"
            self.merged.wrong((*path, "dialect"), "is an empty list", right)
        if entry.auth is not None and entry.auth not in AUTHS:
            right = suggestion(entry.auth, AUTHS, f"give {listing(AUTHS)}")
            self.merged.wrong((*path, "auth"), f"there is no auth {show(entry.auth)}", right)
        if entry.variant and entry.variant not in VARIANTS:
            right = suggestion(entry.variant, VARIANTS, f"give {listing(VARIANTS)}")
            self.merged.wrong((*path, "variant"), f"there is no variant {show(entry.variant)}", right)
        dialects = entry.dialect or (builtin.dialect if builtin else ())
        self._check_deviations((*path, "deviations"), entry.deviations, dialects)
        return len(self.merged.problems) > before

    def _check_deviations(self, path: Path, said: Mapping[str, Any], dialects: Collection[str]) -> None:
        """Against what the provider's dialects know; those of several dialects may differ in words."""
        if self.deviations is None or not all(dialect in self.dialects for dialect in dialects):
            return
        for name, value in said.items():
            known = [self.deviations[d][name] for d in dialects if name in self.deviations.get(d, ())]
            if known:
                self._check_deviation((*path, name), value, known)
                continue
            others = [dialect for dialect, names in self.deviations.items() if name in names]
            if others:
                wrong = f"{name} is for {listing(others)}, and the provider speaks {listing(dialects)}"
                self.merged.wrong((*path, name), wrong, "leave it out")
                continue
            names = list(dict.fromkeys(n for d in dialects for n in self.deviations.get(d, ())))
            otherwise = f"the deviations of {listing(dialects)} are {listing(names) or 'none so far'}"
            wrong, right = f"there is no deviation {show(name)}", suggestion(name, names, otherwise)
            self.merged.wrong((*path, name), wrong, right)

    def _check_deviation(self, path: Path, value: Any, known: list[Deviation]) -> None:
        usual = known[0].usual
        words = [] if any(not one.words for one in known) else [word for one in known for word in one.words]
        if type(value) is not type(usual):
            example = words[0] if isinstance(usual, str) else f"[{listing(words[:2])}]"
            right = f"give {_KINDS[type(usual)]}" + (f", e.g. {example}" if words else "")
            self.merged.wrong(path, f"{show(value)} is not of the right kind", right)
        elif value == "" and usual:
            self.merged.wrong(path, "is empty", f"give a text, e.g. {usual}")
        elif words:
            texts = enumerate(value) if isinstance(value, tuple) else [(None, value)]
            for i, word in texts:
                if word not in words and not (i is None and word == usual):
                    right = suggestion(str(word), words, f"give {listing(dict.fromkeys(words))}")
                    here = path if i is None else (*path, i)
                    self.merged.wrong(here, f"there is no {show(word)} here", right)

    def _incomplete(self, path: Path, entry: ProviderIn, builtin: Builtin | None) -> bool:
        if builtin is not None:
            if lack := self._lack(builtin, entry):
                self.merged.wrong(path, *lack)
            return lack is not None
        if entry.dialect is None:
            right = suggestion(
                entry.name, builtins(), f"add dialect: one or more of {listing(sorted(self.dialects))}"
            )
            wrong = f"{show(entry.name)} is not built in, and has no dialect"
            self.merged.wrong((*path, "dialect"), wrong, right)
            return True
        if not entry.base_url and any(dialect in self.built for dialect in entry.dialect):
            right = "add e.g. base_url: https://api.example.com/v1"
            self.merged.wrong((*path, "base_url"), f"{show(entry.name)} has no base_url", right)
            return True
        return False

    def _lack(self, builtin: Builtin, entry: ProviderIn) -> tuple[str, str] | None:
        """What a built-in provider still needs: what is wrong, and what would be right. One that can't be
        spoken yet needs nothing."""
        if not any(dialect in self.built for dialect in entry.dialect or builtin.dialect):
            return None
        lacking = [name for name in builtin.needs if not getattr(entry, name) and not entry.base_url]
        if not lacking:
            return None
        right = f"add to `providers`: - {{name: {builtin.name}, {builtin.example}}}"
        return f"the provider {builtin.name} has no {listing(lacking)}", right

    def _provider(self, entry: ProviderIn, builtin: Builtin | None) -> Provider:
        builtin = builtin or Builtin(entry.name, ())
        given = entry.model_fields_set
        dialects = tuple(dict.fromkeys(entry.dialect or builtin.dialect))
        said = entry.credential if "credential" in given else builtin.credential
        credential = compiled(said, entry.region)
        variant = entry.variant or ("" if entry.dialect else builtin.variant)
        implied = _implied(dialects, variant, entry.api_version)
        return Provider(
            name=entry.name,
            dialects=dialects,
            base_url=entry.base_url or _filled(builtin.base_url, entry),
            auth=_auth(entry, builtin, credential),
            credential=credential,
            region=entry.region,
            project=entry.project,
            api_version=entry.api_version or builtin.api_version,
            headers=tuple(sorted(entry.headers.items())),
            ca_file=entry.ca_file,
            models=MappingProxyType(dict(sorted(entry.models.items()))),
            built=any(dialect in self.built for dialect in dialects),
            variant=variant,
            deviations=MappingProxyType(
                dict(sorted({**builtin.deviations, **implied, **entry.deviations}.items()))
            ),
            concurrency=entry.concurrency or 0,
        )


def _implied(dialects: Collection[str], variant: str, api_version: str) -> Mapping[str, Any]:
    """Deviations that a version brings with it."""
    is_older = variant == "azure" and "" < api_version < _AZURE_TELLS_USAGE_SINCE
    return {"stream_usage": False} if is_older and "openai-chat" in dialects else {}


def _filled(url: str, entry: ProviderIn) -> str:
    if "{region}" in url and not entry.region:
        return ""
    if entry.region in _VERTEX_WIDE:
        url = url.replace(_VERTEX_HOST, _VERTEX_WIDE[entry.region])
    return url.replace("{region}", entry.region)


def _built_in_at(provider: Provider) -> Builtin | None:
    """Another name for a house is not another house: the built-in provider of the same variant, if any."""
    kin = (each for each in builtins().values() if provider.variant and each.variant == provider.variant)
    return next((each for each in kin if set(each.dialect) & set(provider.dialects)), None)


def _told_by(provider: Provider) -> Iterator[Mapping[str, Any]]:
    """What its deviations tell of all its models."""
    parts = provider.deviations.get("parts")
    if provider.deviations.get("document_urls") or "document_url" in (parts or ()):
        yield {"document_urls": True}
    # Chat calls name files in parts of this kind, and nothing else.
    if parts is not None and "file" not in parts and not _NAMES_FILES.intersection(provider.dialects):
        yield {"files": False}


def _said(capabilities: Mapping[str, Mapping[str, Any]]) -> Said:
    """The longest pattern last: it wins."""
    return sorted(capabilities.items(), key=lambda one: (len(one[0]), one[0]))


def _auth(entry: ProviderIn, builtin: Builtin, credential: SecretRef | None) -> Auth:
    if entry.auth is not None:
        return AUTHS[entry.auth]
    if credential is None:
        return Auth.NONE  # a header without a value would only be refused
    if isinstance(credential, Identity):
        return Auth.AWS_SIGV4 if credential.kind == AWS else Auth.BEARER
    if builtin.credential is None:
        return Auth.BEARER
    return AUTHS[builtin.auth]


def raw_names(merged: Merged, pool: int) -> list[str | None]:
    """The providers that a pool names whose entry is wrong elsewhere: they are checked all the same."""
    entry = merged.lists["pools"][pool]
    members = entry.get("members") if isinstance(entry, dict) else None
    return [
        member["provider"] if isinstance(member, dict) and isinstance(member.get("provider"), str) else None
        for member in (members if isinstance(members, list) else ())
    ]
