"""How a repository is followed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..core.catalog import SecretRef


@dataclass(frozen=True, slots=True)
class Following:
    """How a repository is followed: looked at every so many seconds; `signers` and `credential` as Repository
    takes them."""

    every_s: float = 10.0
    signers: Path | None = None
    credential: SecretRef | None = None

    def words(self) -> list[str]:
        """The same, as a command line says it."""
        said = ["--git-every", str(self.every_s)]
        said += ["--git-signers", str(self.signers)] if self.signers is not None else []
        return [*said, "--git-credential", str(self.credential)] if self.credential is not None else said
