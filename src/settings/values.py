"""The small languages of single values: durations, sizes, URLs, references to secrets, header names.

Each function takes what YAML gave and returns the compiled value, or calls `refuse`. Values that may be
secret (keys, credentials, URLs with a password) are never repeated in a message.
"""

from __future__ import annotations

import calendar
import ipaddress
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

from ..core.catalog import CACHE_SCOPES, SecretRef, StoredSecret
from ..core.secrets import CLOUDS
from .problems import kind, listing, nearest, refuse, show, suggestion

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(ms|s|m|h)")
_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([KMG]i?B|B)")
_BYTES = {
    **{"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3},
    **{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30},
}
_TOKENS = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([kM]?)")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_STORED = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/+=@:-]{0,511}")
_FIELD = re.compile(r"[^\0\r\n]{0,253}")
_VERSION = re.compile(r"[A-Za-z0-9._-]{0,64}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")

HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
CREDENTIALS = frozenset(
    ("authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "set-cookie")
)
INTERNAL = ("x-broker-", "x-envoy-", "x-forwarded-")

HOW_TO_HASH = (
    "never write a key itself here: give {sha256: …} made by `printf %s KEY | sha256sum`, "
    "or {env: NAME} or {file: PATH}"
)


def duration(least_ms: int, most_ms: int) -> Callable[[Any], int]:
    """A reader of `500ms`, `30s`, `10m`, `1h` → milliseconds between these two."""

    def read(value: Any) -> int:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            refuse(f"{show(value)} has no unit", f'say "{show(value)}s" for seconds, or use ms, m or h')
        found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
        if not found:
            refuse(f"{show(value)} is not a duration", 'give a number with ms, s, m or h, e.g. "30s"')
        amount, unit = found.groups()
        ms = _scaled(amount, _MS[unit])
        if ms is None:
            refuse(f"{show(value)} is not a whole number of milliseconds", 'give e.g. "1500ms"')
        if not least_ms <= ms <= most_ms:
            bounds = f"give {duration_text(least_ms)} to {duration_text(most_ms)}"
            refuse(f"{show(value)} is too {'short' if ms < least_ms else 'long'}", bounds)
        return ms

    return read


def duration_or_none(least_ms: int, most_ms: int) -> Callable[[Any], int]:
    """The same, where `none` (0) is no bound at all."""
    read = duration(least_ms, most_ms)
    return lambda value: 0 if value in (0, "none", None) else read(value)


def duration_text(ms: int) -> str:
    """Milliseconds in the largest unit that gives a whole number."""
    unit = next(unit for unit in ("h", "m", "s", "ms") if ms % _MS[unit] == 0)
    return f"{ms // _MS[unit]}{unit}"


def _scaled(amount: str, factor: int) -> int | None:
    """`amount` times `factor` exactly, None where that is no whole number. (Floats would be off.)"""
    whole, _, fraction = amount.partition(".")
    value, rest = divmod(int(whole + fraction) * factor, 10 ** len(fraction))
    return None if rest else value


def size(least: int, most: int) -> Callable[[Any], int]:
    """A reader of `32MiB`, `1GB` or a bare number of bytes → bytes between these two."""

    def read(value: Any) -> int:
        found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        count: int | None
        if isinstance(value, int) and not isinstance(value, bool):
            count = value
        elif found:
            count = _scaled(found[1], _BYTES[found[2]])
        else:
            refuse(f"{show(value)} is not a size", 'give bytes, or a number with KiB, MiB or GiB: "32MiB"')
        if count is None:
            refuse(f"{show(value)} is not a whole number of bytes", 'give e.g. "32MiB"')
        if not least <= count <= most:
            bounds = f"give {size_text(least)} to {size_text(most)}"
            refuse(f"{show(value)} is too {'small' if count < least else 'large'}", bounds)
        return count

    return read


def size_text(count: int) -> str:
    """Bytes in the largest unit that gives a whole number."""
    unit = next(unit for unit in ("GiB", "MiB", "KiB", "B") if count % _BYTES[unit] == 0)
    return f"{count // _BYTES[unit]}{unit}"


def flag(value: Any) -> bool:
    """true/false, and YAML 1.1's other words for them."""
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else ""
    if word in ("on", "yes", "true"):
        return True
    if word in ("off", "no", "false"):
        return False
    refuse(f"{show(value)} is not true or false", "write true or false")


def failover(value: Any) -> int:
    """`up to 3`, `3` or `none` → how many further attempts there may be after the first."""
    right = "give `up to 3`, a whole number from 0 to 10, or `none`"
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        refuse(f"{show(value)} is not a failover", right)
    text = str(value).strip().lower()
    if text == "none":
        return 0
    found = re.fullmatch(r"(?:up\s+to\s+)?([0-9]{1,3})", text)
    if not found:
        refuse(f"{show(value)} is not a failover", right)
    if int(found[1]) > 10:
        refuse(f"{show(value)} is more than 10 further attempts", right)
    return int(found[1])


def one_or_more(value: Any) -> Any:
    """A single word stands for a list of one."""
    return [value] if isinstance(value, str) else value


def purpose(value: Any) -> Any:
    """What calls are for, where they are no client's and a configuration may say it."""
    if value not in ("", "eval"):
        refuse(f"{show(value)} is no purpose that can be given", "give eval, or leave it out")
    return value


def base_url(value: Any) -> str:
    """`http(s)://host[:port][/path]`, with no slash at the end and the host in lower case."""
    right = "give http(s)://host[:port][/path], e.g. https://api.example.com/v1"
    if not isinstance(value, str) or not value:
        refuse(f"is {kind(value) if value != '' else 'empty'}, not a URL", right)
    if re.search(r"[\x00-\x20\x7f-\uffff\\]", value) or len(value) > 1000:
        refuse("the URL holds characters that no URL has", right)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        refuse("is not a URL", right)
    if "@" in parts.netloc:
        refuse("the URL holds a user name or password", "leave it out and give the secret as `credential`")
    if parts.scheme not in ("http", "https"):
        refuse("the URL has no http:// or https:// in front", right)
    if "?" in value or "#" in value:
        refuse("the URL has a query or fragment", "leave out everything from the ? or # on")
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc.rstrip(":")
    if not _HOST.fullmatch(host) or port == 0:
        refuse("the URL has no good host", right)
    port_text = "" if port is None else f":{port}"
    return f"{parts.scheme}://{host.lower()}{port_text}{parts.path.rstrip('/')}"


def credential(value: Any) -> SecretRef | None:
    """`{env: NAME}`, `{file: PATH}`, `{STORE: PATH}` or none."""
    right = "give {env: NAME}, {file: PATH}, {STORE: PATH} or none"
    if value is None or value == "none":
        return None
    if isinstance(value, str):
        refuse("holds a credential in plain text", f"never write a credential itself here: {right}")
    return stored(value, ("env", "file"), right)


def caller_key(value: Any) -> SecretRef:
    """`{sha256: …}`, `{env: NAME}`, `{file: PATH}` or `{STORE: PATH}`, for a caller."""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        refuse("holds a key in plain text", HOW_TO_HASH)
    right = "give {sha256: …}, {env: NAME}, {file: PATH} or {STORE: PATH}"
    return stored(value, ("sha256", "env", "file"), right)


def stored(value: Any, kinds: tuple[str, ...], right: str) -> SecretRef:
    """A reference of one of these kinds, or to a store: `{STORE: PATH, field: FIELD, version: VERSION}`.
    Which stores there are is not known here."""
    if not isinstance(value, dict) or not value.keys() - {"env", "file", "sha256", "field", "version"}:
        return secret(value, kinds, right)
    names = [key for key in value if key not in ("field", "version")]
    if len(names) == 2 and (meant := "".join(nearest(str(key), ("field", "version")) for key in names)):
        refuse("has a word that means nothing here", f'did you mean "{meant}"?')
    if len(names) != 1 or not isinstance(names[0], str):
        # Their names are not repeated: one may be a secret in the wrong place.
        refuse(f"names {len(names)} places", "give one place, e.g. {vault: llm/openai, field: key}")
    place, field, version = value[names[0]], value.get("field", ""), value.get("version", "")
    if names[0] in CLOUDS and isinstance(place, dict):
        refuse("is an identity, and those are for providers alone", right)
    if isinstance(version, int) and not isinstance(version, bool):
        version = str(version)
    if not (isinstance(place, str) and _STORED.fullmatch(place)):
        refuse("does not say which secret of the store it is", "give e.g. {vault: llm/openai, field: key}")
    if not (isinstance(field, str) and _FIELD.fullmatch(field)):
        refuse("field is not the name of a field", "give e.g. {vault: llm/openai, field: key}")
    if not (isinstance(version, str) and _VERSION.fullmatch(version)):
        refuse("version is no version", "give e.g. version: 3, or leave it out for the newest")
    return StoredSecret("store", place, names[0], field, version)


def secret(value: Any, kinds: tuple[str, ...], right: str) -> SecretRef:
    """A reference to a secret, of one of these kinds."""
    if not isinstance(value, dict):
        refuse(f"is {kind(value)}, not a mapping" if value is not None else "is empty", right)
    if len(value) != 1 or next(iter(value)) not in kinds:
        refuse(f"has to have exactly one of {listing(kinds)}", right)
    ((where, name),) = value.items()
    if where == "env" and not (isinstance(name, str) and _ENV.fullmatch(name)):
        refuse("env is not the name of an environment variable", "give e.g. {env: OPENAI_API_KEY}")
    if where == "file" and not (isinstance(name, str) and name and "\0" not in name):
        refuse("file is not a path", "give e.g. {file: /run/secrets/openai}")
    if where == "sha256":
        if not (isinstance(name, str) and _SHA256.fullmatch(name)):
            refuse("sha256 is not 64 hex digits", "make it with `printf %s KEY | sha256sum`")
        name = name.lower()
    return SecretRef(where, name)


def provider_headers(value: Any) -> dict[str, str]:
    """Extra headers of requests to a provider, names in lower case. Values are not repeated in errors."""
    if not isinstance(value, dict):
        refuse(f"is {kind(value)}, not a mapping", "give {name: value}")
    result: dict[str, str] = {}
    for name, text in value.items():
        lower = header_name(name)
        if lower in CREDENTIALS:
            refuse(f"the header {show(name)} carries a secret", "give it as `credential` and `auth`")
        if lower in ("host", "content-length", "content-type"):
            refuse(f"the header {show(name)} is the broker's own to set", "leave it out")
        if lower in result:
            refuse(f"the header {show(lower)} stands twice", "keep one")
        if not isinstance(text, str) or not re.fullmatch(
            r"[\x21-\x7e]([\x20-\x7e]{0,4094}[\x21-\x7e])?", text
        ):
            refuse(f"the value of {show(name)} is not text that a header can hold", "put it in quotes")
        result[lower] = text
    return result


def header_name(value: Any) -> str:
    """A header's name in lower case that is neither hop-by-hop nor one of the broker's own."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        refuse(f"{show(value)} is not the name of a header", "give e.g. x-task")
    lower = value.lower()
    if lower in HOP_BY_HOP:
        refuse(f"the header {show(value)} belongs to the connection", "leave it out")
    if lower.startswith(INTERNAL):
        refuse(f"{show(value)} is a name that the broker and Envoy keep to themselves", "choose another name")
    return lower


def fact_header(value: Any) -> str:
    """A header that may set a fact: any that a client may send, but none that carries a secret."""
    return _clients_header(value, "can't be a fact", "x-task")


def affinity_header(value: Any) -> str:
    """A header that may name a session or user, of the same kind."""
    return _clients_header(value, "can't name a session or user", "x-my-session")


def _clients_header(value: Any, wrong: str, example: str) -> str:
    lower = header_name(value)
    if lower in CREDENTIALS or lower in ("host", "content-length"):
        refuse(f"the header {show(value)} {wrong}", f"choose a header of your own, e.g. {example}")
    return lower


def address(value: Any) -> str:
    """An IP address or `localhost`."""
    if value == "localhost":
        return "localhost"
    try:
        return str(ipaddress.ip_address(value if isinstance(value, str) else ""))
    except ValueError:
        right = "give an IP address: 127.0.0.1, 0.0.0.0 or ::"
        refuse(f"{show(value)} is not an IP address or localhost", right)


def denial(value: Any) -> str:
    """`deny: true`, or the text that the caller gets to read. "" stands for true."""
    if value is True:
        return ""
    if not isinstance(value, str) or not value.strip() or len(value) > 1000:
        refuse(f"{show(value)} is not a refusal", "give the text that the caller gets, or true")
    return value


_ROUTINGS = ("priority-weighted", "cheapest")


def routing_by(value: Any) -> str:
    """`priority-weighted` or `cheapest`."""
    if value not in _ROUTINGS:
        right = suggestion(str(value), _ROUTINGS, "give priority-weighted or cheapest")
        refuse(f"{show(value)} is not a routing", right)
    return str(value)


def routing(value: Any) -> Any:
    """A word stands for a mapping with just `by`."""
    return {"by": value} if isinstance(value, str) else value


def cache(value: Any) -> Any:
    """`short-context` stands for a mapping that says nothing else; `off` for none."""
    if value in (False, "off", "none", ""):
        return None
    if isinstance(value, str):
        if value != "short-context":
            right = "give short-context, or a mapping such as {max_context_tokens: 4k, ttl: 1h, scope: team}"
            refuse(f"{show(value)} is not a cache", suggestion(value, ("short-context",), right))
        return {}
    return value


def cache_scope(value: Any) -> str:
    """Who shares cached replies."""
    if value not in CACHE_SCOPES:
        right = suggestion(str(value), CACHE_SCOPES, f"give {listing(CACHE_SCOPES)}")
        refuse(f"{show(value)} is not a scope", right)
    return str(value)


def redis_url(value: Any) -> SecretRef:
    """A URL without a password, or where a URL is to be found. It is not repeated in messages."""
    right = (
        "give redis://HOST:PORT/DB, rediss://… or unix:///PATH; {env: NAME} or {file: PATH} with a password"
    )
    if not isinstance(value, str):
        return stored(value, ("env", "file"), right)
    parts = urlsplit(value)
    if parts.password or (parts.username and parts.scheme != "unix"):
        refuse("holds a password in plain text", "put the whole URL into the environment: {env: REDIS_URL}")
    is_good = parts.path if parts.scheme == "unix" else parts.hostname
    if parts.scheme not in ("redis", "rediss", "unix") or not is_good:
        refuse(f"{show(value)} is not the URL of a Redis", right)
    return SecretRef("url", value)


def usage_event(value: Any) -> str:
    """`strip` or `pass`."""
    if value not in ("strip", "pass"):
        refuse(f"{show(value)} is neither strip nor pass", "give strip or pass")
    return str(value)


def guard(value: Any) -> str:
    """`first-event` or `full`."""
    if value not in ("first-event", "full"):
        refuse(f"{show(value)} is neither first-event nor full", "give first-event or full")
    return str(value)


def percent(value: Any) -> float:
    """`5%`, `0.5%` → 5.0, 0.5: more than 0, at most 100."""
    right = "give a percentage of more than 0, e.g. 5%"
    text = str(value).strip() if isinstance(value, str) else ""
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)\s*%", text)
    if not found and re.fullmatch(r"[0-9]{1,3}\.[0-9]{4,}\s*%", text):
        refuse(f"{show(value)} has more than three digits behind the point", "give 0.001% or more")
    if not found:
        refuse(f"{show(value)} is not a percentage", right)
    share = float(found[1])
    if not share:
        refuse(f"{show(value)} would be none at all", right)
    if share > 100:
        refuse(f"{show(value)} is more than all", right)
    return share


_MOST_DOLLARS = 100_000  # per million: with 9 decimals, still within what YAML's numbers hold exactly
_LONGEST_RATE = 24  # characters


def rate(value: Any) -> int | None:
    """Dollars per million → nano-dollars per million, exactly as written."""
    right = "give dollars per million tokens, e.g. 2.50"
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float, str)):
        refuse("is empty" if value is None else f"{show(value)} is not a price", right)
    text = value if isinstance(value, str) else repr(value)  # which is what was written, up to 15 digits
    if len(text) > _LONGEST_RATE:
        refuse(f"{show(value)} has more than 9 decimals", right)
    try:
        price = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        refuse(f"{show(value)} is not a price", right)
    if not price.is_finite() or price < 0:
        refuse(f"{show(value)} is not a price", right)
    if price >= _MOST_DOLLARS:
        refuse(f"{show(value)} is more than any model costs", right)
    nano = price.scaleb(9)
    if nano != nano.to_integral_value():
        refuse(f"{show(value)} has more than 9 decimals", right)
    return int(nano)


_DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")


def day(value: Any) -> int | None:
    """`2026-06-01` → Unix seconds of its first moment, in UTC."""
    right = "give a day, e.g. 2026-06-01"
    found = _DAY.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        refuse("is empty" if value is None else f"{show(value)} is not a date", right)
    year, month, number = map(int, found.groups())
    is_date = year >= 1970 and 1 <= month <= 12 and 1 <= number <= calendar.monthrange(year, month)[1]
    if not is_date:
        refuse(f"{show(value)} is not a date", right)
    return calendar.timegm((year, month, number, 0, 0, 0))


def discount(value: Any) -> int | None:
    """`12%`, `12.5%` → parts of a million: more than 0, at most 100 %."""
    return round(percent(value) * 10_000)


_AFFINITIES = ("session", "user", "prefix")


def affinity_by(value: Any) -> str:
    """`session`, `user` or `prefix`."""
    if value not in _AFFINITIES:
        right = suggestion(str(value), _AFFINITIES, "give session, user or prefix")
        refuse(f"{show(value)} is not an affinity", right)
    return str(value)


def affinity(value: Any) -> Any:
    """A word stands for a mapping with just `by`; `off` for none."""
    if value in (False, "off", "none"):
        return None
    return {"by": value} if isinstance(value, str) else value


def hedge(value: Any) -> Any:
    """A duration stands for a mapping with just `after`; `off` for none."""
    if value in (False, "off", "none"):
        return None
    return {"after": value} if isinstance(value, (str, int, float)) else value


def tokens(value: Any) -> int:
    """`200000`, `200k` or `1M` → a number of tokens."""
    is_text = isinstance(value, (int, str)) and not isinstance(value, bool)
    found = _TOKENS.fullmatch(str(value).strip()) if is_text else None
    count = _scaled(found[1], {"": 1, "k": 1_000, "M": 1_000_000}[found[2]]) if found else None
    if not count:
        refuse(f"{show(value)} is not a number of tokens", "give a number of tokens, e.g. 128k")
    return count


def deviations(value: Any) -> dict[str, Any]:
    """Name → text, true or false, or a list of texts (as a tuple). Which names there are, and what each may
    say, is checked against the provider's dialects."""
    if not isinstance(value, dict):
        refuse(f"is {kind(value)}, not a mapping", "give e.g. {max_tokens_field: max_tokens}")
    for name, said in value.items():
        is_list = isinstance(said, list) and all(isinstance(each, str) for each in said)
        if not is_list and not isinstance(said, (str, int)):
            right = "give a text, true or false, or a list of texts"
            refuse(f"{show(name)} is {kind(said)}", right)
    return {name: tuple(said) if isinstance(said, list) else said for name, said in value.items()}


def ejection(value: Any) -> Any:
    """`on` and `off` (YAML 1.1 reads them as true and false) stand for a mapping with just `enabled`."""
    if isinstance(value, (bool, str)):
        return {"enabled": flag(value)}
    return value
