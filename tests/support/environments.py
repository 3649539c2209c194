"""Fresh virtual environments, into which tests install distributions for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["REPOSITORY", "WITHOUT_INDEX", "Environment"]

REPOSITORY = Path(__file__).resolve().parents[2]
WITHOUT_INDEX = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation")


class Environment:
    """A new virtual environment that sees the third-party packages of the running one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
        (site_packages,) = (folder / "env" / "lib").glob("python3*/site-packages")
        others = [path for path in sys.path if Path(path).name == "site-packages"]
        site_packages.joinpath("others.pth").write_text("\n".join(others))

    def run(self, *command: object) -> str:
        """Run a program of the environment in its folder; returns what it prints."""
        program, *arguments = map(str, command)
        inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        done = subprocess.run(
            [self.folder / "env" / "bin" / program, *arguments],
            cwd=self.folder,
            env=inherited | {"OMP_NUM_THREADS": "1", "CALVE_STRICT_PLUGINS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def install(self, *what: object) -> None:
        """Install distributions, with the build tools that are there already."""
        self.run("python", "-m", "pip", "install", *WITHOUT_INDEX, *what)

    def calve(self, *arguments: object) -> str:
        return self.run("calve", *arguments)
