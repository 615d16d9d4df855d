"""docs/audit.md: its verifier for others does what it promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from modelbroker.audit.store import segments

from .test_chain import SIGNER, made

PAGE = Path(__file__).parents[2] / "docs" / "audit.md"


def test_the_verifier_of_the_page(tmp_path: Path) -> None:
    code = PAGE.read_text().partition("```python\n")[2].partition("```")[0]
    assert len(code.splitlines()) <= 15
    made(tmp_path / "chain", 30)
    words = [sys.executable, "-c", code, str(tmp_path / "chain"), SIGNER.public]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("good up to event "), done.stderr
    _, path = segments(tmp_path / "chain")[1]
    for old, new in ((b'"agent":"agent-', b'"agent":"other-'), (b'"sig":"', b'"sig":"0')):
        text = path.read_bytes()
        path.write_bytes(text.replace(old, new, 1))
        assert subprocess.run(words, capture_output=True).returncode == 1
        path.write_bytes(text)
