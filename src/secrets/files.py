"""Secrets in files: mounted ones, which are replaced while the broker runs."""

from __future__ import annotations

from pathlib import Path

from ..core.catalog import SecretRef
from ..policy.holding import Value
from .store import MOST_CHARS, Away, Gone

# A character of UTF-8 has so many bytes at most.
_MOST_BYTES = 4 * MOST_CHARS + 1


class Files:
    """As a store that is always there. A file that is gone or empty may be about to be replaced, and one that
    can't be read is a fault of the disk or of its rights."""

    def fetch(self, ref: SecretRef) -> Value:
        return Value(read_file(ref.name))

    def close(self) -> None: ...


def read_file(path: str) -> str:
    """Raises Away, or Gone. No more is read than a secret can have."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST_BYTES).decode()
    except UnicodeDecodeError:
        raise Gone(f"the file {path} is not UTF-8 text") from None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise Gone(f"the file {path} can't be read ({error.strerror})") from None
    except OSError as error:
        raise Away(f"the file {path} can't be read ({error.strerror})") from None
