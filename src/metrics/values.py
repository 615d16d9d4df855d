"""Which values of a label have series of their own."""

from __future__ import annotations

from .series import OTHER

# Of what a token or a header says: longer ones are cut.
MOST_LENGTH = 128


class Values:
    """The first `most` that come; all further ones are OTHER. "" is the want of one, and does not count."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, str] = {"": ""}

    def fold(self, value: str) -> str:
        found = self._known.get(value)
        if found is not None:
            return found
        cut = value[:MOST_LENGTH]
        if cut in self._known:
            return cut
        if len(self._known) > self._most:
            return OTHER
        self._known[cut] = cut
        return cut
