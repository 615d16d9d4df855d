"""What nobody should read of a configuration, by how it looks: names that promise a secret, and texts that
hold one.

A configuration refers to secrets and holds none. But what people write into URLs, headers and comments is
shown to more people than wrote it. Better too much is hidden than too little.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

Hide = Callable[[str], str]
_LEAST = 6  # characters of a text that may hold one: `//a@b/`
_SPACE = re.compile(r"\s")

# Names are looked at word by word, and as if their words were one.
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LATER = re.compile(r"old|new|previous|next|backup|value|text|plain|raw|primary|secondary|[0-9]+")
_ENDS = (
    "(?:password|passwd|passphrase|secret|token|credential|authorization|cookie|signature|bearer"
    "|(?:api|access|private|secret|signing|encryption|account|subscription|shared|master|auth|function|functions)"
    "key)"
)
_ONE = re.compile(rf".*{_ENDS}|pwd|pass|sig|jwt|sas|key|sha256")
_LAST = re.compile(r"pwd|pass|sig|jwt|sas|sha256")
_STRONG = re.compile(
    r".*(?:password|passwd|passphrase|secret|apikey|privatekey|credential).*(?<!secrets|entials)"
)
# What is said of a secret, and is none: where it is, what it is called, how long it lives.
_ABOUT = re.compile(
    "files?|path|env|names?|url|uri|endpoint|arn|ids?|field|stores?|type|kind|ttl|version|refs?|from|count|length"
    "|s|ms|seconds|minutes|age|expiry|every|class|headers?|region|scopes?|refresh|overlap"
)

# No pattern looks at a character more often than a few times: a text may be long, and mean.
_SCHEME = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,30}:$")
_END_OF_URL = re.compile(r"[\s'\"`<>]")
# Parts of a query whose values are good to know, and never secrets.
_SHOWN_IN_QUERY = re.compile(
    "api-version|alt|version|format|ssl(?:mode|rootcert)|db|(?:connect_)?timeout|application_name|region|endpoint"
    "|profile|since|filter",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    r"(?<![\w.-])((?:api|access|private|secret) key|[\w.-]+)\\?['\"]?\s*[:=]\s*\\?['\"]?(?=[^\s'\"])",
    re.IGNORECASE,
)
_OPTION = re.compile(r"(?<!\S)--([\w-]+)\s+(?=\S)")
_SCHEMES = re.compile(r"(?i)\b((?:bearer|basic)\s+)(\S+)")
# How keys of well-known makers begin.
_KEYS = re.compile(
    r"\b(?:sk-|pk-|rk_|sk_|xox[a-z]-|xapp-|gh[a-z]_|github_pat_|glpat-|hvs\.|hf_|npm_|pypi-|AIza|ya29\.|AKIA|ASIA"
    r"|ey[JK][\w-]*\.|whsec_|SG\.|dop_v1_|gsk_|xai-|r8_|tvly-|pplx-|nvapi-)[\w./+=-]{6,}"
)
_SEGMENT = re.compile(r"(?<=/)[A-Za-z0-9_-]{20,}(?=/|$)")


@lru_cache(4096)
def is_secret(name: str) -> bool:
    """Does a value of this name hold a secret? `clientSecret`, `x-api-key`, `REDIS_PASSWORD_OLD`."""
    words = _words(name)
    joined = "".join(words)
    if not joined or _ABOUT.fullmatch(words[-1]):
        return False
    return any((_ONE.fullmatch(joined), _LAST.fullmatch(words[-1]), _STRONG.fullmatch(joined)))


def are_secrets(name: str) -> bool:
    """Do values in a list of this name? `tokens` are also what is counted: alone they are none."""
    return is_secret(name) or is_secret(name.removesuffix("s").removesuffix("S"))


def _words(name: str) -> list[str]:
    words = [one.lower() for one in _WORDS.findall(name)]
    if words[-2:] == ["sha", "256"]:
        return [*words[:-2], "sha256"]
    while len(words) > 1 and _LATER.fullmatch(words[-1]):
        words.pop()
    return words


def without_secrets(text: str, hide: Hide, *, assigned: bool = True) -> str:
    """A text of one line or several without what looks like a secret: in URLs, behind a name that promises
    one (`assigned`), behind `Bearer`, and keys of well-known makers."""
    if len(text) < _LEAST:
        return text
    return "\n".join(_line(line, hide, assigned) for line in text.split("\n"))


def _line(line: str, hide: Hide, assigned: bool) -> str:
    urls = _urls(line)
    if assigned:
        for found in (*_ASSIGNED.finditer(line), *_OPTION.finditer(line)):
            # In a URL a name has its own value; elsewhere all that is left: a password may hold anything.
            if (is_secret(found[1]) or found[1].lower() == "headers") and not any(
                start <= found.start() < end for start, end in urls
            ):
                return _line(line[: found.end()], hide, False) + hide(line[found.end() :])
    parts, at = [], 0
    for start, end in urls:
        parts += [_bare(line[at:start], hide), without_url_secrets(line[start:end], hide)]
        at = end
    return "".join([*parts, _bare(line[at:], hide)])


def _urls(line: str) -> list[tuple[int, int]]:
    """Where they stand. What stands before an @ is taken for a user and a password, which may hold any mark:
    `/`, `?` and quotes, and spaces where it has a `:`."""
    found: list[tuple[int, int]] = []
    at, end, last = 0, -1, line.rfind("@")
    while (place := line.find("//", at)) >= 0:
        scheme = _SCHEME.search(line, max(at, place - 32), place)
        if end < place + 2:
            space = _SPACE.search(line, place + 2)
            end = space.start() if space is not None else len(line)
        if end < last and ":" in line[place + 2 : end].partition("/")[0]:
            user = last
        else:
            user = line.rfind("@", place + 2, end) if place < last else -1
        behind = _END_OF_URL.search(line, user if user > place else place + 2)
        at = behind.start() if behind is not None else len(line)
        found.append((scheme.start() if scheme is not None else place, at))
    return found


def _bare(text: str, hide: Hide) -> str:
    said = _SCHEMES.sub(lambda one: f"{one[1]}{hide(one[2])}", text)
    return _KEYS.sub(lambda one: hide(one[0]), said)


def without_url_secrets(url: str, hide: Hide) -> str:
    """Without who logs in and by which password, values of its query but a few, what looks like a key in its
    path, and its fragment."""
    scheme, _, rest = url.partition("//")
    scheme += "//"
    who, at, rest = rest.rpartition("@")
    user = f"{hide(who)}{at}" if who else at
    rest, sharp, fragment = rest.partition("#")
    place, asks, query = rest.partition("?")
    place = _SEGMENT.sub(
        lambda one: hide(one[0]) if _is_mixed(one[0]) else one[0], _KEYS.sub(_by(hide), place)
    )
    pairs = [_pair(one, hide) for one in re.split(r"([&;])", query)]
    end = fragment if not fragment or fragment.startswith("subdirectory=") else hide(fragment)
    return f"{scheme}{user}{place}{asks}{''.join(pairs)}{sharp}{end}"


def _by(hide: Hide) -> Callable[[re.Match[str]], str]:
    return lambda one: hide(one[0])


def _pair(pair: str, hide: Hide) -> str:
    """Of a query."""
    if pair in ("", "&", ";"):
        return pair
    name, equals, value = pair.partition("=")
    if not equals:
        return hide(pair)
    if not value or _SHOWN_IN_QUERY.fullmatch(name):
        return f"{name}={_KEYS.sub(_by(hide), value)}"
    return f"{name}={hide(value)}"


def _is_mixed(word: str) -> bool:
    return any(one.isdigit() for one in word) and any(one.isalpha() for one in word) and "-" not in word
