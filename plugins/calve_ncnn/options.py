"""Options of the ncnn export format."""

from __future__ import annotations

from dataclasses import dataclass, field

from calve.api import Range, check_ranges

__all__ = ["NcnnOptions"]


@dataclass(frozen=True)
class NcnnOptions:
    """What ``calve export RECIPE --format ncnn`` takes."""

    fp16: bool = field(
        default=True, metadata={"help": "Store weights as float16, which halves the files."}
    )
    pnnx_time_limit: int = field(
        default=300,
        metadata={
            "help": "Time limit of pnnx for one network, in seconds.",
            "range": Range(1, 1_000_000),
        },
    )

    def __post_init__(self) -> None:
        check_ranges(self)
