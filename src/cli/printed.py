"""What commands print. What clients and providers chose themselves may hold anything: it is to command no
terminal, hide nothing and forge no line, whichever command shows it and in whichever form."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import unicodedata
from collections.abc import Iterator
from typing import IO, Any, TextIO, cast

_LINES = "\n\t"
_OUT = str.maketrans("", "", _LINES)


def printed(text: str, keeps: str = _LINES) -> str:
    """`text` with all that is no printable text (controls, marks of direction, ends of lines but `keeps`) as
    JSON spells it. So JSON stays what it is, and means the same."""
    if text.translate(_OUT if keeps == _LINES else {}).isprintable():
        return text
    return "".join([one if one in keeps or _is_printable(one) else _spelled(one) for one in text])


def visible(text: str) -> str:
    """The same, on one line."""
    return printed(text, keeps="")


def _is_printable(one: str) -> bool:
    return one.isprintable() or unicodedata.category(one) == "Zs"  # a space, if not the usual one


def _spelled(one: str) -> str:
    return r"\u007f" if one == "\x7f" else json.dumps(one)[1:-1]


class Printed:
    """A stream of text that prints so."""

    def __init__(self, stream: TextIO) -> None:
        self.plain = stream

    def write(self, text: str) -> int:
        self.plain.write(printed(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


class PrintedBytes(io.RawIOBase):
    """UTF-8 for a stream of text that prints so."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(printed(bytes(data).decode("utf-8", "backslashreplace")))
        return len(data)

    def flush(self) -> None:
        self._stream.flush()


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """All that is printed meanwhile is printed so."""
    out, err = cast(TextIO, Printed(sys.stdout)), cast(TextIO, Printed(sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def commanded(stream: TextIO) -> TextIO:
    """The stream itself, for those who do mean to move a terminal's cursor."""
    return stream.plain if isinstance(stream, Printed) else stream


def exported() -> IO[bytes]:
    """Standard output for data: as it is for a file or a pipe, printable on a terminal."""
    if sys.stdout.isatty():
        return cast(IO[bytes], PrintedBytes(sys.stdout))
    return sys.stdout.buffer
