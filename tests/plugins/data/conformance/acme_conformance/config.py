from dataclasses import dataclass, field
from pathlib import Path

from calve.protocols.loading import with_default
from calve_lhotse.loader_options import LhotseLoaderOptions


@dataclass(frozen=True)
class SoundConfig:
    dim: int = field(default=64, metadata={"help": "Dimension of the output."})


def infer_config(shapes):
    return {"dim": shapes["front.weight"][0]}


def onnx_table(config, geometry):
    return {"dim": config.dim}


@dataclass(frozen=True)
class HumsOptions:
    data_dir: Path = field(default=Path("data/hums"), metadata={"help": "Where to write."})
    train: int = field(default=12, metadata={"help": "Utterances to train on."})


@dataclass(frozen=True)
class HumsLoaderOptions(LhotseLoaderOptions):
    enable_spec_aug: bool = with_default(LhotseLoaderOptions, "enable_spec_aug", False)
