"""int8 bundles in the real sherpa-ncnn, and at full size; not installing it is a failure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from calve.bundles.bundle import Bundle
from calve.data.tokens import SymbolTable
from calve.decoding.recognizers import transcribe
from calve.exporting.export import export
from calve.exporting.quantization import quantize
from calve.exporting.verification import verify
from calve.protocols import QuantizationReport
from calve.scoring.error_rates import ErrorCounts, total_errors
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.encoder import LstmEncoder
from calve_ncnn import sherpa
from calve_ncnn.layout import bin_path
from calve_transducer.family import TransducerFamily
from calve_transducer.model.config import TransducerConfig

RECIPE = "lstm_transducer_stateless2"
DEMO = Path(__file__).parents[2] / "plugins" / "calve_transducer" / "digits" / "recordings"
MIB = 1024 * 1024


def differences(bundle: Bundle, recordings: list[Path]) -> ErrorCounts:
    """What sherpa-ncnn hears against what calve's own runtime hears."""
    ours = [transcript.text for transcript in transcribe(bundle, recordings)]
    theirs = sherpa.transcribe(bundle.path, recordings, tail_seconds=bundle.tail_seconds)
    return total_errors(zip(ours, (result.text for result in theirs), strict=True))


def test_sherpa_ncnn_hears_what_calve_hears(golden_bundle: Bundle, tmp_path: Path) -> None:
    quantize(golden_bundle.path, output=tmp_path / "int8", calibration=(DEMO,))
    found = differences(Bundle.open(tmp_path / "int8"), sorted(DEMO.glob("*.wav")))
    assert found.reference_words > 100
    # The two compute the same integers and add them up in another order.
    assert found.errors <= 0.02 * found.reference_words


@pytest.mark.parametrize("method", ["minmax", "kl", "percentile", "mse"])
def test_the_shipped_model_loses_nothing_on_its_demo_recordings(
    tmp_path: Path, method: str
) -> None:
    export(RECIPE, checkpoint="builtin:digits-lstm", output=tmp_path / "fp32", fp16=False)
    report = quantize(
        tmp_path / "fp32",
        output=tmp_path / "int8",
        calibration=(DEMO,),
        method=method,
        evaluation=(DEMO,),
    )
    before, _, after = report.variants
    assert report.measure == "WER"
    assert after.size < 0.4 * before.size
    assert after.error_rate <= before.error_rate + 0.5
    assert not after.empty
    assert all(check.outcome == "passed" for check in verify(tmp_path / "int8"))


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The documented model of 84,176,356 parameters with random weights, in float32."""
    folder = tmp_path_factory.mktemp("full-size")
    torch.manual_seed(0)
    model = TransducerFamily().build(
        LstmEncoder(LstmEncoderConfig()), TransducerConfig(vocab_size=500)
    )
    torch.save({"model": model.state_dict()}, folder / "pretrained.pt")
    symbols = ("<blk>", "<sos/eos>", "<unk>", *(f"▁{number}" for number in range(3, 500)))
    SymbolTable(symbols).write(folder / "tokens.txt")
    return export(
        RECIPE,
        checkpoint=folder / "pretrained.pt",
        tokens=folder / "tokens.txt",
        output=folder / "bundle",
        fp16=False,
    )


MEASURED = r"""
import json, re, sys, time
from pathlib import Path
from calve.exporting.quantization import quantize
started = time.process_time()
quantize(sys.argv[1], output=sys.argv[2], **json.loads(sys.argv[3]))
seconds = time.process_time() - started
# Not ru_maxrss, which a child takes over from the process that started it.
peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]
print(json.dumps([seconds, int(peak)]))
"""


def quantize_measured(source: Path, output: Path, **options: object) -> tuple[float, float]:
    """Seconds of processor time and peak bytes of a process that quantizes."""
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, str(source), str(output), json.dumps(options)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, kilobytes = json.loads(result.stdout.splitlines()[-1])
    return seconds, kilobytes * 1024


@pytest.mark.slow
def test_the_full_size_model_is_small_quickly_made_and_runs_in_sherpa_ncnn(
    full_size: Bundle, tmp_path: Path, shared_data: Path
) -> None:
    seconds, memory = quantize_measured(full_size.path, tmp_path / "int8")
    assert seconds < 5
    assert memory < 1.2e9
    bundle = Bundle.open(tmp_path / "int8")
    assert bin_path(bundle.path, "encoder").stat().st_size <= 90 * MIB
    assert bin_path(bundle.path, "joiner").stat().st_size <= 0.8e6
    failed = [check for check in verify(bundle.path) if check.outcome != "passed"]
    assert not failed
    recording = shared_data / "librispeech_sample" / "1088-134315-0000.wav"
    ours = next(iter(transcribe(bundle, [recording])))
    theirs = sherpa.transcribe(bundle.path, [recording], tail_seconds=bundle.tail_seconds)[0]
    # Random weights leave many symbols almost equally likely: only that it works can be told.
    assert 0.5 < len(theirs.text.split()) / len(ours.text.split()) < 2


@pytest.mark.slow
def test_a_table_is_applied_to_the_full_size_model_quickly(
    full_size: Bundle, tmp_path: Path
) -> None:
    report: QuantizationReport = quantize(full_size.path, output=tmp_path / "first")
    tables = [str(path) for path in sorted((tmp_path / "first").glob("*-scale-table.txt"))]
    seconds, memory = quantize_measured(full_size.path, tmp_path / "again", table=tables)
    assert report.precision == dict.fromkeys(("encoder", "decoder", "joiner"), "int8")
    assert seconds < 5
    assert memory < 1.2e9
    for name in ("encoder", "decoder", "joiner"):
        first, again = (bin_path(tmp_path / one, name) for one in ("first", "again"))
        assert first.read_bytes() == again.read_bytes()
