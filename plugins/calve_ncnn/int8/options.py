"""Options of the scheme int8 of ncnn bundles."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from calve.api import ConfigError, Range, check_ranges

__all__ = ["Int8Options"]

_WAVS = "files, folders, or .txt lists with a path a line"


@dataclass(frozen=True)
class Int8Options:
    """What ``calve quantize`` takes for ncnn bundles."""

    calibration: tuple[Path, ...] = field(
        default=(), metadata={"help": f"Recordings that set the activation ranges: {_WAVS}."}
    )
    method: Literal["minmax", "kl", "percentile", "mse"] = field(
        default="minmax",
        metadata={"help": "Method that selects a range from the measured values; kl is ncnn's."},
    )
    table: tuple[Path, ...] = field(
        default=(),
        metadata={"help": "Scale tables instead of calibration, one per network."},
    )
    layer_types: tuple[str, ...] = field(
        default=("LSTM", "Gemm", "InnerProduct", "Embed"),
        metadata={
            "help": "Layer types to quantize; Convolution and ConvolutionDepthWise are also "
            "supported. A table quantizes all layers that it names."
        },
    )
    keep_fp16: tuple[str, ...] = field(
        default=(),
        metadata={"help": "Layers to leave in fp16: NAME, or NETWORK/NAME if two share a name."},
    )
    evaluation: tuple[Path, ...] = field(
        default=(), metadata={"help": f"Recordings to measure the error rate on: {_WAVS}."}
    )
    reference: Path | None = field(
        default=None,
        metadata={
            "help": "References: lines of 'name<TAB>words', or a lhotse manifest. By default "
            "transcripts.txt beside the recordings; without any, the tokens of the "
            "source bundle are the reference."
        },
    )
    max_wer_increase: float | None = field(
        default=None,
        metadata={
            "help": "Largest increase of the error rate in percent (absolute); sensitive "
            "layers stay in fp16 until it is met.",
            "range": Range(0, 1000),
        },
    )
    num_workers: int = field(
        default=0,
        metadata={
            "help": "Number of worker processes; 0 for one per processor core.",
            "range": Range(0, 256),
        },
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.calibration and self.table:
            raise ConfigError(
                "a table replaces calibration", fix="give either --calibration or --table"
            )
        if self.max_wer_increase is not None and not (self.judged_on or self.reference):
            raise ConfigError(
                "there is nothing to measure the error rate on",
                fix="name recordings: --evaluation DIR, and --reference FILE if they have one",
            )

    @property
    def judged_on(self) -> tuple[Path, ...]:
        """Recordings to measure the error rate on; if it is asked for, those of calibration do."""
        if self.evaluation:
            return self.evaluation
        asked_for = self.reference is not None or self.max_wer_increase is not None
        return self.calibration if asked_for else ()
