"""The main job with several releases of pnnx and ncnn: ``make compat``.

Each pair of wheels is downloaded into a folder of its own that shadows the installed ones, so
this needs a package index; without ``CALVE_COMPAT=1`` it is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from calve_ncnn.wheels import TESTED_PAIRS

RECIPE = "lstm_transducer_stateless2"
MODEL = "builtin:digits-lstm"
FP32_LIMIT = 1e-4

pytestmark = pytest.mark.skipif(
    not os.environ.get("CALVE_COMPAT"), reason="downloads wheels; run by `make compat`"
)


@pytest.fixture(scope="module", params=TESTED_PAIRS, ids=lambda pair: f"pnnx-{pair[0]}")
def environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Environment variables with which Python sees the pair of wheels."""
    pnnx, ncnn = request.param
    folder = tmp_path_factory.mktemp(f"pnnx-{pnnx}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, f"pnnx=={pnnx}", f"ncnn=={ncnn}"], check=True)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def calve(environment: dict[str, str], *arguments: object) -> str:
    script = "from calve.cli.application import main; main()"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("flag", ["--no-fp16", "--fp16"])
def test_export_lint_and_verify(environment: dict[str, str], tmp_path: Path, flag: str) -> None:
    bundle = tmp_path / "bundle"
    options = ("--checkpoint", MODEL, "--output", bundle, flag)
    calve(environment, "export", RECIPE, "--format", "ncnn", *options)
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    wheels = Path(environment["PYTHONPATH"].split(os.pathsep)[0])
    for tool in ("pnnx", "ncnn"):
        assert (wheels / f"{tool}-{manifest['tools'][tool]}.dist-info").is_dir()
    # In fp16 the export holds every output to a share of its largest value.
    assert flag == "--fp16" or manifest["parity"]["max_abs_error"] <= FP32_LIMIT
    assert manifest["parity"]["tokens_equal"]
    assert json.loads(calve(environment, "lint", bundle, "--json"))["findings"] == []
    assert json.loads(calve(environment, "verify", bundle, "--json"))["passed"]
