"""What YAML may say of captured bodies."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, PlainValidator, StringConstraints

from ..core.capture import NO_CAPTURE, PATTERNS, Step
from ..core.catalog import SecretRef
from . import values
from .fields import Model, field
from .ledger import days_s
from .problems import listing, refuse, show, suggestion

_KIB, _MIB, _GIB, _TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
_RIGHT_URL = (
    "give sqlite:///PATH, postgresql://…, s3://BUCKET/PREFIX, or {env: NAME} or {file: PATH} that hold a URL"
)
_RIGHT_KEY = "give {env: NAME} or {file: PATH} that hold 32 bytes in base64: openssl rand -base64 32"
_RIGHT_ENCRYPTION = "give {key: {env: NAME}}, or `none` where bodies may be kept as they are"
_RIGHT_PATH = "give keys with dots, e.g. metadata.user_id, messages[*].name, or **.secret for anywhere"
_STEP = re.compile(r"(\*\*|\*|[^.\[\]*\s]+)((?:\[(?:\*|[0-9]{1,6})\])*)")
_NAME = r"^[a-z][a-z0-9_-]{0,63}$"
_MOST_EXPRESSION = 1_000
BODIES = {"request": (True, False), "reply": (False, True), "both": (True, True)}
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")]
_OWN_NAMES = (*PATTERNS, "drop", "media")


def body_names(value: Any) -> str:
    if value not in BODIES:
        refuse(f"{show(value)} is none of request, reply and both", "give request, reply or both")
    return str(value)


def pattern_names(value: Any) -> tuple[str, ...]:
    """Names of built-in patterns, in one order; `all` or `none`."""
    if value in ("all", "none"):
        return PATTERNS if value == "all" else ()
    if not isinstance(value, list):
        refuse(
            f"{show(value)} is no list of patterns", f"give a list out of {listing(PATTERNS)}, or all or none"
        )
    for one in value:
        if one not in PATTERNS:
            right = f"the patterns are {listing(PATTERNS)}; expressions of your own are `custom`"
            refuse(f"there is no pattern {show(one)}", suggestion(str(one), PATTERNS, right))
    return tuple(name for name in PATTERNS if name in value)


def expressions(value: Any) -> tuple[tuple[str, str], ...]:
    """name → regular expression, sorted by name."""
    if not isinstance(value, dict):
        refuse(f"{show(value)} is no mapping", "give name: expression, e.g. {badge: 'B-[0-9]{4}'}")
    for name, text in value.items():
        if not isinstance(name, str) or not re.fullmatch(_NAME, name):
            refuse(f"{show(name)} is no name of a pattern", "give lower-case letters, digits, _ and -")
        if name in _OWN_NAMES:
            refuse(f"{show(name)} is a name of the broker's own", "choose another name")
        if not isinstance(text, str) or not text or len(text) > _MOST_EXPRESSION:
            refuse(f"{name} is no regular expression", f"give 1 to {_MOST_EXPRESSION} characters of text")
        try:
            found = re.compile(text).match("")
        except (re.error, OverflowError, RecursionError) as error:
            refuse(f"{name} is no regular expression: {error}", "mend it; Python's module `re` reads it")
        if found is not None:
            refuse(f"{name} matches the empty text", "give one that matches something")
    return tuple(sorted(value.items()))


def json_paths(value: Any) -> tuple[tuple[Step, ...], ...]:
    """`$.metadata.user_id`, `messages[*].name`, `**.secret`."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list):
        refuse(f"{show(value)} is no list of paths", _RIGHT_PATH)
    return tuple(_path(one) for one in given)


def _path(text: Any) -> tuple[Step, ...]:
    if not isinstance(text, str) or len(text) > 1_000:
        refuse(f"{show(text)} is no path", _RIGHT_PATH)
    steps: list[Step] = []
    rest = text.removeprefix("$.")
    while True:
        found = _STEP.match(rest)
        if not found:
            refuse(f"{show(text)} is no path", _RIGHT_PATH)
        steps.append(found[1])
        steps += [part if part == "*" else int(part) for part in re.findall(r"\[([^\]]+)\]", found[2])]
        rest = rest[found.end() :]
        if not rest:
            break
        if not rest.startswith("."):
            refuse(f"{show(text)} is no path", _RIGHT_PATH)
        rest = rest[1:]
    if steps[-1] == "**":
        refuse(f"{show(text)} ends nowhere", _RIGHT_PATH)
    return tuple(steps)


def drops_media(value: Any) -> bool:
    if value not in ("drop", "keep"):
        refuse(f"{show(value)} is neither drop nor keep", "give drop or keep")
    return bool(value == "drop")


def store_url(value: Any) -> str | SecretRef:
    """A URL without a password, or where it is to be found."""
    if not isinstance(value, str):
        return values.stored(value, ("env", "file"), _RIGHT_URL)
    try:
        parts = urlsplit(value)
        has_password = "@" in parts.netloc if parts.scheme == "s3" else parts.password is not None
    except ValueError:
        refuse("is no URL", _RIGHT_URL)
    if has_password or "password" in parts.query:
        refuse("holds a password in plain text", "give {env: NAME} or {file: PATH} that hold the URL")
    scheme = parts.scheme.partition("+")[0]
    if scheme not in ("sqlite", "postgresql", "postgres", "s3"):
        refuse(f"{show(value)} is nothing that captured bodies can be in", _RIGHT_URL)
    if scheme == "sqlite" and not (value.startswith("sqlite:///") and len(value) > len("sqlite:///")):
        refuse(
            f"{show(value)} names no file", "give sqlite:///relative/path or sqlite:////path/from/the/root"
        )
    if scheme == "s3" and not parts.netloc:
        refuse(f"{show(value)} names no bucket", "give s3://BUCKET/PREFIX")
    return value


def key_ref(value: Any) -> SecretRef:
    if isinstance(value, str):
        refuse("holds a key in plain text", _RIGHT_KEY)
    return values.stored(value, ("env", "file"), _RIGHT_KEY)


def mapping_or_none(value: Any) -> Any:
    if value == "none":
        return None
    if not isinstance(value, dict):
        refuse(f"{show(value)} is no mapping" if value is not None else "is empty", _RIGHT_ENCRYPTION)
    return value


def _size(least: int, most: int) -> Any:
    read = values.size(least, most)
    return lambda value: 0 if value == "none" else read(value)


class CaptureRuleIn(Model):
    """Calls whose bodies are captured. The first rule that matches counts."""

    name: Text = field("What `/status` calls it; `capture-1` … if left out.", "text", "give a name", "")
    match: dict[str, Any] = field(
        "Facts and what they have to be, as rules have them. `{}` matches every call.",
        "mapping of fact: match",
        "give e.g. match: {team: sales}, or match: {} for every call",
    )
    pools: Annotated[list[Text], BeforeValidator(values.one_or_more)] = field(
        "The pools that the call may be for: names or patterns.",
        "list of names or patterns",
        "give names or patterns, e.g. [reasoning-tier, claude-*]",
        ["*"],
    )
    share: Annotated[float, PlainValidator(values.percent)] = field(
        "What share of them, by a lot over the call's id.", "percentage", "give e.g. 5%", 100.0
    )
    bodies: Annotated[str, PlainValidator(body_names)] = field(
        "`request`, `reply` or `both`.", "word", "give request, reply or both", "both"
    )


class EncryptionIn(Model):
    """AES-256-GCM. Bodies say which key they are encrypted with."""

    key: Annotated[SecretRef, PlainValidator(key_ref)] = field(
        "Where the key is to be found: 32 bytes, in base64 or hex.", "reference to a secret", _RIGHT_KEY
    )
    old_keys: list[Annotated[SecretRef, PlainValidator(key_ref)]] = field(
        "Keys of before: what they encrypted is still read.",
        "list of references",
        "give a list, e.g. [{env: OLD_TRAFFIC_KEY}]",
        list,
    )


class CaptureIn(Model):
    """Bodies of calls that are kept, for evaluations. Without this section no text of a call is on any disk.
    docs/capture.md"""

    rules: list[CaptureRuleIn] = field(
        "Of which calls. None: nothing is captured.",
        "list of rules",
        "give e.g. [{match: {team: sales}, share: 5%}]",
        list,
    )
    exempt: Annotated[list[Text], BeforeValidator(values.one_or_more)] = field(
        "Callers of whom nothing is ever captured: names or patterns.",
        "list of names or patterns",
        "give names or patterns of callers, e.g. [payroll-*]",
        list,
    )
    redact: Annotated[tuple[str, ...], PlainValidator(pattern_names)] = field(
        "What is masked before anything is written: built-in patterns by their names.",
        "list of patterns, `all` or `none`",
        f"give a list out of {listing(PATTERNS)}, or all or none",
        NO_CAPTURE.patterns,
    )
    custom: Annotated[tuple[tuple[str, str], ...], PlainValidator(expressions)] = field(
        "Patterns of your own: regular expressions, as Python's `re` reads them.",
        "mapping of name: expression",
        "give e.g. {badge: 'B-[0-9]{4}'}",
        (),
    )
    drop: Annotated[tuple[tuple[Step, ...], ...], PlainValidator(json_paths)] = field(
        "Fields of bodies that are left out.", "list of paths", _RIGHT_PATH, ()
    )
    media: Annotated[bool, PlainValidator(drops_media)] = field(
        "Images, documents and audio in bodies: `drop` leaves a note of their kind and size, `keep` keeps "
        "them as they are, unseen by patterns.",
        "word",
        "give drop or keep",
        True,
    )
    store: Annotated[str | SecretRef, PlainValidator(store_url)] = field(
        "Where they are kept: `sqlite:///PATH`, `postgresql://USER:PASSWORD@HOST:PORT/DATABASE` or "
        "`s3://BUCKET/PREFIX`; with a password `{env: NAME}` or `{file: PATH}` that hold it. Left out: "
        "`traffic.db` in the state folder.",
        "URL or reference to a secret",
        _RIGHT_URL,
        "",
    )
    keep: Annotated[int, PlainValidator(days_s)] = field(
        "For how long: days, or `forever`.", "days or `forever`", "give e.g. 14d", NO_CAPTURE.keep_s
    )
    body_bytes: Annotated[int, PlainValidator(values.size(_KIB, 64 * _MIB))] = field(
        "A larger body is not kept; the sample says so.", "size", 'give e.g. "1MiB"', NO_CAPTURE.body_bytes
    )
    store_bytes: Annotated[int, PlainValidator(_size(_MIB, 1024 * _TIB))] = field(
        "The oldest go while all bodies together take more, as they are stored; or `none`.",
        "size or `none`",
        'give e.g. "10GiB", or none',
        NO_CAPTURE.store_bytes,
    )
    queue_bytes: Annotated[int, PlainValidator(values.size(_MIB, 4 * _GIB))] = field(
        "What may wait in memory, on its way to the store; what does not fit is dropped and counted.",
        "size",
        'give e.g. "64MiB"',
        NO_CAPTURE.queue_bytes,
    )
    encryption: Annotated[EncryptionIn | None, BeforeValidator(mapping_or_none)] = field(
        "The key that bodies are encrypted with; or `none`, which has to be said.",
        "mapping or `none`",
        _RIGHT_ENCRYPTION,
    )
