"""A loaded ncnn network with numpy inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
from numpy.typing import NDArray

from calve.api import BundleError
from calve_ncnn.layout import bin_path, param_path
from calve_ncnn.metadata import without_metadata
from calve_ncnn.param import ParamFile
from calve_ncnn.weights import read_tensors, read_weights

__all__ = ["NcnnNetwork"]

Array = NDArray[np.generic]


class NcnnNetwork:
    """A network of a bundle, loaded.

    Args:
      bundle_dir: The bundle's directory.
      name: "encoder", "decoder" or "joiner".
      inputs: How many inputs it must have: blobs in0, in1, ...
      outputs: Names of the blobs that `run` returns; any blob of the network will do, but those
        inside it only with ``keep_blobs``.
      num_threads: CPU threads.
      fp16: Whether ncnn may calculate in float16 where the CPU can (not on x86).
      keep_blobs: Whether blobs outlive the layers that read them, which costs memory.

    Raises:
      BundleError: if the files are missing, damaged or not what ncnn can load.
    """

    def __init__(
        self,
        bundle_dir: Path,
        name: str,
        *,
        inputs: int,
        outputs: Sequence[str],
        num_threads: int = 1,
        fp16: bool = False,
        keep_blobs: bool = False,
    ) -> None:
        self._path = param_path(bundle_dir, name)
        # ncnn trusts its files: a short .bin would be read past its end.
        param = ParamFile.read(self._path)
        weights = bin_path(bundle_dir, name)
        read_tensors(param, read_weights(weights), weights)
        net = ncnn.Net()
        net.opt.num_threads = num_threads
        net.opt.use_vulkan_compute = False
        net.opt.use_fp16_packed = fp16
        net.opt.use_fp16_storage = fp16
        net.opt.use_fp16_arithmetic = fp16
        net.opt.lightmode = not keep_blobs
        self._net = self._load(net, without_metadata(param), weights)
        # ncnn looks blobs up by name in a linear search; by index a call costs half as much.
        blobs = {blob.name: index for index, blob in enumerate(self._net.blobs())}
        try:
            self._inputs = [blobs[f"in{index}"] for index in range(inputs)]
            self._outputs = [blobs[output] for output in outputs]
        except KeyError as error:
            raise BundleError(
                f"the {name} has no blob {error}; it takes {', '.join(param.input_names)} and "
                f"gives {', '.join(param.output_names)}",
                where=self._path,
                fix="run `calve lint` on the bundle",
            ) from None

    def _load(self, net: Any, param: ParamFile, weights: Path) -> Any:
        if net.load_param_mem(param.text()) != 0:
            raise BundleError(
                "ncnn cannot load the network", where=self._path, fix="run `calve lint` on it"
            )
        if net.load_model(str(weights)) != 0:
            raise BundleError(
                "ncnn cannot load the weights", where=weights, fix="export the bundle again"
            )
        return net

    def run(self, *inputs: Array) -> list[NDArray[np.float32]]:
        """Feed in0, in1, ... and return copies of the outputs.

        Args:
          inputs: Float32 or int32, without a batch axis.

        Raises:
          BundleError: if ncnn refuses an input or cannot compute an output.
        """
        # ncnn.Mat only borrows the memory and misreads strided arrays: these must be contiguous
        # and outlive the extractor.
        arrays = [np.ascontiguousarray(array) for array in inputs]
        extractor = self._net.create_extractor()
        for blob, array in zip(self._inputs, arrays, strict=True):
            extractor.input(blob, ncnn.Mat(array))
        results = []
        for blob in self._outputs:
            code, mat = extractor.extract(blob)
            if code != 0:
                raise BundleError(
                    f"ncnn failed with code {code} on inputs of shapes "
                    f"{', '.join(str(array.shape) for array in arrays)}",
                    where=self._path,
                    fix="run `calve verify` on the bundle",
                )
            results.append(np.array(mat))
        return results
