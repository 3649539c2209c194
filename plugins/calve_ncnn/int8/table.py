"""ncnn's scale tables: text with one line per weight or input, a name followed by scales.

    lstm_16_param_0 397.861603 419.883850 ...      input weights, one scale per row
    lstm_16_param_1 518.943726 412.267487 ...      recurrent weights
    linear_1_param_0 393.121521 349.821014 ...     weights
    linear_1 57.749706                             the layer's input

``ncnn2table`` and sherpa-ncnn's ``generate-int8-scale-table`` write them, ``ncnn2int8`` reads
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calve.api import DataError
from calve.common.files import atomic_file
from calve.common.inputs import read_text

__all__ = ["ScaleTable"]

Float32Array = NDArray[np.float32]

_WEIGHT_LINE = re.compile(r"(?P<layer>.+)(?P<key>_param_\d+)")


@dataclass(frozen=True)
class ScaleTable:
    """The scales of one network.

    Attributes:
      weights: Layer -> table key ("_param_0", "_param_1") -> scales.
      inputs: Layer -> scale of its input.
      path: Where it was read from, for messages.
    """

    weights: Mapping[str, Mapping[str, Float32Array]] = field(default_factory=dict)
    inputs: Mapping[str, float] = field(default_factory=dict)
    path: str = "<memory>"

    @property
    def layers(self) -> frozenset[str]:
        """Every layer that has a line."""
        return frozenset(self.weights) | frozenset(self.inputs)

    @classmethod
    def read(cls, path: Path) -> ScaleTable:
        """Read a table.

        Raises:
          DataError: if it cannot be read, or a line is malformed, repeated, or holds a scale that
            is zero, negative, infinite or NaN (which a range of infinity, NaN or zero gives).
        """
        text = read_text(path, "scale table", DataError)
        weights: dict[str, dict[str, Float32Array]] = {}
        inputs: dict[str, float] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            name, *words = line.split()
            scales = _scales(name, words, f"{path}:{number}")
            match = _WEIGHT_LINE.fullmatch(name)
            if match is None:
                lines: dict[str, float] | dict[str, Float32Array] = inputs
                repeated = name in inputs
                inputs[name] = _single(name, scales, f"{path}:{number}")
            else:
                lines = weights.setdefault(match["layer"], {})
                repeated = match["key"] in lines
                lines[match["key"]] = scales
            if repeated:
                raise DataError(f"{name} has two lines", where=f"{path}:{number}")
        return cls(weights, inputs, str(path))

    def write(self, path: Path) -> None:
        """Write the table; every scale reads back as the same float32."""
        lines = [
            f"{layer}{key} {_text(scales)}"
            for layer, keys in self.weights.items()
            for key, scales in keys.items()
        ]
        lines += [f"{layer} {_text([scale])}" for layer, scale in self.inputs.items()]
        with atomic_file(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _scales(name: str, words: list[str], where: str) -> Float32Array:
    try:
        scales = np.array(words, dtype=np.float32)
    except ValueError:
        raise DataError(f"a scale of {name} is not a number", where=where) from None
    if not scales.size:
        raise DataError(f"{name} has no scale", where=where)
    bad = scales[~(np.isfinite(scales) & (scales > 0))]
    if bad.size:
        raise DataError(
            f"{name} has the impossible scale {bad[0]:g}",
            where=where,
            fix="a range of zero, infinity or NaN was measured: calibrate again on speech",
        )
    return scales


def _single(name: str, scales: Float32Array, where: str) -> float:
    if scales.size != 1:
        raise DataError(f"the input of {name} has {scales.size} scales instead of 1", where=where)
    return float(scales[0])


def _text(scales: Iterable[float]) -> str:
    # Nine digits tell any two float32 apart; C's sscanf reads them as it reads %f.
    return " ".join(f"{scale:.9g}" for scale in scales)
