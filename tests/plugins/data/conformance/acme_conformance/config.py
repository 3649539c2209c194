from dataclasses import dataclass, field


@dataclass(frozen=True)
class SoundConfig:
    dim: int = field(default=64, metadata={"help": "Dimension of the output."})


def infer_config(shapes):
    return {"dim": shapes["front.weight"][0]}


def onnx_table(config, geometry):
    return {"dim": config.dim}
