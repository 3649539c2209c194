"""Options of transducer training; names and meanings as in icefall."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from calve.api import ConfigError, Range, check_ranges
from calve.common.ranges import ANY_NUMBER

__all__ = ["TrainingConfig"]


_COUNT = Range(1, 10**9)
_COUNT_OR_NONE = Range(0, 10**9)


def _option(default: Any, text: str, *, fixed: bool = True, limits: Range = ANY_NUMBER) -> Any:
    """A field; one that is not ``fixed`` may differ when a run is continued."""
    return field(default=default, metadata={"help": text, "fixed": fixed, "range": limits})


@dataclass(frozen=True)
class TrainingConfig:
    """Options of transducer training."""

    num_epochs: int = _option(30, "Train until this epoch has ended.", fixed=False, limits=_COUNT)
    start_epoch: int = _option(
        1,
        "Continue after epoch-{N-1}.pt of --exp-dir; 1 starts a new run.",
        fixed=False,
        limits=_COUNT,
    )
    start_batch: int = _option(
        0,
        "Continue after checkpoint-N.pt of --exp-dir; overrides --start-epoch.",
        fixed=False,
        limits=_COUNT_OR_NONE,
    )
    resume: bool = _option(
        False,
        "Continue after the checkpoint of --exp-dir with the most batches, or start a new run.",
        fixed=False,
    )
    world_size: int = _option(
        1,
        "Processes on this machine that train together, on GPUs 0, 1, ... or the CPU.",
        limits=Range(1, 1024),
    )
    find_unused_parameters: bool = _option(
        False,
        "For several processes and an encoder that skips layers at random.",
        fixed=False,
    )
    seed: int = _option(
        42,
        "Seed of initialization, data order, augmentation and dropout.",
        limits=Range(0, 2**32 - 1),
    )
    optimizer_type: Literal["eve", "scaled_adam", "adamw"] = _option(
        "eve",
        "eve is icefall's, for scaled layers. scaled_adam (Zipformer's) and adamw (torch's) "
        "suit any encoder.",
    )
    initial_lr: float = _option(
        0.003, "Learning rate at the start.", limits=Range(0, 1000, above_minimum=True)
    )
    lr_batches: float = _option(
        5000.0,
        "Batches until the learning rate falls noticeably.",
        limits=Range(0, 1e9, above_minimum=True),
    )
    lr_epochs: float = _option(
        10.0,
        "Epochs until the learning rate falls noticeably.",
        limits=Range(0, 1e9, above_minimum=True),
    )
    lr_warmup_batches: int = _option(
        0,
        "Batches over which the learning rate rises from half to its full value.",
        limits=_COUNT_OR_NONE,
    )
    model_warm_step: int = _option(
        3000,
        "Batches during which only the simple loss trains, on gradually opened layers.",
        limits=_COUNT,
    )
    prune_range: int = _option(5, "Symbols per frame in the pruned loss.", limits=Range(1, 1000))
    lm_scale: float = _option(
        0.25, "Weight of the decoder-only term in the simple loss.", limits=Range(0, 1)
    )
    am_scale: float = _option(
        0.0, "Weight of the encoder-only term in the simple loss.", limits=Range(0, 1)
    )
    simple_loss_scale: float = _option(
        0.5, "Weight of the simple loss relative to the pruned loss.", limits=Range(0, 1000)
    )
    loss_backend: str = _option(
        "torch", "Loss backend: torch, or k2 if it is installed.", fixed=False
    )
    delay_penalty: float = _option(
        0.0, "Penalty of late symbols in nats per frame.", limits=Range(0, 1000)
    )
    use_fp16: bool = _option(
        False,
        "Run matrix multiplications in float16, with a gradient scale; for GPUs.",
        fixed=False,
    )
    use_bf16: bool = _option(
        False,
        "Run matrix multiplications in bfloat16; up to twice as fast if the processor supports it.",
        fixed=False,
    )
    blank_start_share: float = _option(
        0.0,
        "Share of batches that start with blanks alone, as in streaming recognizers, instead "
        "of no symbol and one blank.",
        fixed=False,
        limits=Range(0, 1),
    )
    average_period: int = _option(
        100, "Batches between updates of the running model average.", limits=_COUNT
    )
    save_every_n: int = _option(
        4000, "Batches between checkpoint-N.pt files.", fixed=False, limits=_COUNT
    )
    keep_last_k: int = _option(
        20, "Number of checkpoint-N.pt files to keep.", fixed=False, limits=_COUNT
    )
    valid_interval: int = _option(
        3000,
        "Batches between validations, in addition to the one after each epoch.",
        fixed=False,
        limits=_COUNT,
    )
    log_interval: int = _option(50, "Batches between log lines.", fixed=False, limits=_COUNT)
    num_threads: int = _option(
        0, "CPU threads; 0 for torch's default.", fixed=False, limits=Range(0, 512)
    )
    device: str = _option(
        "auto", "Device for training: cpu, cuda, cuda:1, ...; auto prefers a GPU.", fixed=False
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.lm_scale + self.am_scale > 1.0:
            raise ConfigError(
                f"lm_scale is {self.lm_scale} and am_scale {self.am_scale}; together they are 1 "
                "at most"
            )
        if self.use_fp16 and self.use_bf16:
            raise ConfigError("--use-fp16 and --use-bf16 exclude one another")
        if self.resume and (self.start_batch > 0 or self.start_epoch > 1):
            raise ConfigError("--resume finds the checkpoint itself", fix="leave out --start-*")
