"""A path → the texts of a configuration."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.problems import Problem, SettingsError

_SUFFIXES = (".yaml", ".yml")
_REPOSITORY = re.compile(r"(https?|ssh|git):/|[^/@]+@[^/:]+:")
_MAX_BYTES = 64 * 1024 * 1024  # more is a mistake, and would only fill the memory


def read_files(path: Path) -> dict[str, str]:
    """A file, or the `*.yaml` and `*.yml` files right in a folder by name: name as given → text.

    Names that begin with a dot are left out: Kubernetes mounts a config map as links to files under
    `..data/`, and editors keep their copies so. Links to files are followed. Raises SettingsError.
    """
    try:
        if path.is_dir():
            names = sorted(
                entry
                for entry in path.iterdir()
                if entry.suffix in _SUFFIXES and not entry.name.startswith(".") and not entry.is_dir()
            )
            if not names:
                raise _problem(path, "the folder holds no *.yaml or *.yml file", "put a configuration there")
        else:
            names = [path]
    except OSError as error:
        raise _problem(path, f"can't be read: {error.strerror}", "check its permissions") from None
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    for name in names:
        try:
            texts[str(name)] = _read(name)
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(problems)
    return texts


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        right = "give the path of a YAML file or of a folder of them"
        if _REPOSITORY.match(str(path)):  # it is not repeated: it may hold a password
            right = "give git+https://HOST/REPOSITORY.git@REF#subdirectory=FOLDER, or git+ssh://…"
            raise SettingsError(
                [Problem("the configuration", 0, "", "looks like a repository", right)]
            ) from None
        raise _problem(path, "there is no such file or folder", right) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its name is not good"
        raise _problem(path, f"can't be read: {why}", "check the path and its permissions") from None
    if len(data) > _MAX_BYTES:
        raise _problem(path, f"is over {_MAX_BYTES >> 20} MiB", "is this the right file?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError([Problem(str(path), line, "", "is not UTF-8 text", "save it as UTF-8")]) from None


def _problem(path: Path, wrong: str, right: str) -> SettingsError:
    return SettingsError([Problem(str(path), 0, "", wrong, right)])
