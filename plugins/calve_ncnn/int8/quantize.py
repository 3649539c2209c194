"""Quantizes a ``.param``/``.bin`` pair with NumPy, without ncnn."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from calve.common.files import atomic_file
from calve_ncnn.int8.layers import as_int8, int8_weights
from calve_ncnn.int8.scales import to_int8
from calve_ncnn.int8.table import ScaleTable
from calve_ncnn.layout import bin_path, param_path
from calve_ncnn.param import Layer, ParamFile
from calve_ncnn.weights import TAGS, WeightTensor, read_tensors, read_weights, tensor_specs

__all__ = ["NetworkFiles", "write_network"]

_TAG_OF = {dtype: tag for tag, dtype in TAGS.items()}
_FP16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class NetworkFiles:
    """A network as it lies on the disk, weights mapped and not read.

    Attributes:
      name: "encoder", "decoder" or "joiner".
      param: Its layers.
      data: The bytes of the ``.bin`` file.
      tensors: Its tensors by layer and by name.
    """

    name: str
    param: ParamFile
    data: NDArray[np.uint8]
    tensors: dict[str, dict[str, WeightTensor]]

    @classmethod
    def open(cls, bundle_dir: Path, name: str) -> NetworkFiles:
        """Open a network of a bundle.

        Raises:
          BundleError: if its files are missing or damaged.
        """
        return cls.of(name, param_path(bundle_dir, name), bin_path(bundle_dir, name))

    @classmethod
    def of(cls, name: str, param_file: Path, bin_file: Path) -> NetworkFiles:
        """Open a pair of files."""
        param, data = ParamFile.read(param_file), read_weights(bin_file)
        tensors: dict[str, dict[str, WeightTensor]] = {}
        for tensor in read_tensors(param, data, bin_file):
            tensors.setdefault(tensor.layer, {})[tensor.name] = tensor
        return cls(name, param, data, tensors)

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """The layers that have weights, by name, in file order."""
        return {layer.name: layer for layer in self.param.layers if layer.name in self.tensors}

    def arrays(self, layer: str) -> dict[str, NDArray[np.generic]]:
        """A layer's tensors, views of the file."""
        return {name: tensor.array(self.data) for name, tensor in self.tensors[layer].items()}

    def size(self, layer: str) -> int:
        """Bytes that the layer takes in the ``.bin`` file."""
        return sum(
            (0 if tensor.tag is None else 4) + _padded(tensor.nbytes)
            for tensor in self.tensors[layer].values()
        )

    def parameters(self, layer: str) -> int:
        """Numbers that the layer holds, scales excepted."""
        tensors = self.tensors[layer].values()
        return sum(int(np.prod(one.shape)) for one in tensors if not one.name.endswith("_scale"))

    def precision(self, layer: str) -> str:
        """Of the layer's largest tensor: "fp32", "fp16" or "int8"."""
        largest = max(self.tensors[layer].values(), key=lambda tensor: np.prod(tensor.shape))
        return {"float32": "fp32", "float16": "fp16"}.get(largest.dtype, largest.dtype)


def write_network(
    network: NetworkFiles, table: ScaleTable, int8: Collection[str], param: Path, weights: Path
) -> None:
    """Write a network with some layers in int8 and everything else in fp16.

    What ncnn keeps in float32 whatever happens (biases of convolutions, norms) stays so.

    Args:
      network: The source, fp32 or fp16.
      table: Scales of the layers to quantize.
      int8: Names of the layers to quantize.
      param: The ``.param`` file to write.
      weights: The ``.bin`` file to write.
    """
    layers = [as_int8(layer) if layer.name in int8 else layer for layer in network.param.layers]
    with atomic_file(weights) as temporary, temporary.open("wb") as stream:
        for layer in layers:
            if layer.name in network.tensors:
                _write_layer(stream, layer, network, table if layer.name in int8 else None)
    ParamFile.of(layers).write(param)


def _write_layer(
    stream: BinaryIO, layer: Layer, network: NetworkFiles, table: ScaleTable | None
) -> None:
    source = network.tensors[layer.name]
    scales = {} if table is None else dict(_scale_tensors(layer, table))
    keys = {} if table is None else {one.tensor: one.scale for one in int8_weights(layer)}
    for spec in tensor_specs(layer):
        if spec.name in scales:
            stream.write(scales[spec.name].tobytes())
            continue
        values = source[spec.name].array(network.data)
        if spec.name in keys:
            values = to_int8(np.asarray(values, dtype=np.float32), scales[keys[spec.name]])
        elif spec.tagged and _fits_fp16(values):
            values = values.astype(np.float16)
        if spec.tagged:
            stream.write(np.array(_TAG_OF[values.dtype.name], "<u4").tobytes())
        stream.write(values.tobytes())
        stream.write(bytes(_padded(values.nbytes) - values.nbytes))


def _scale_tensors(layer: Layer, table: ScaleTable) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for weight in int8_weights(layer):
        yield weight.scale, np.asarray(table.weights[layer.name][weight.key], dtype=np.float32)
    if layer.name in table.inputs:
        yield "input_scale", np.array([table.inputs[layer.name]], dtype=np.float32)


def _fits_fp16(values: NDArray[np.generic]) -> bool:
    return values.dtype == np.float32 and bool(np.abs(values).max() <= _FP16_MAX)


def _padded(nbytes: int) -> int:
    return -(-nbytes // 4) * 4
