"""One ONNX network, loaded by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.api import BundleError, PluginError
from calve_onnx.external_data import check_external_data

__all__ = ["OnnxNetwork", "OnnxPort"]

_FATAL_ONLY = 4
_DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


class OnnxPort:
    """An input or output.

    Attributes:
      name: Its name.
      shape: Length of each axis; the name of what it counts where it is free.
      dtype: numpy's type of its numbers, or None if calve knows no network with such.
    """

    def __init__(self, argument: Any) -> None:
        self.name: str = argument.name
        self.shape: tuple[int | str | None, ...] = tuple(argument.shape)
        self.dtype = _DTYPES.get(argument.type)

    @property
    def free_axes(self) -> tuple[int, ...]:
        """The axes whose length is not fixed."""
        return tuple(axis for axis, size in enumerate(self.shape) if not isinstance(size, int))

    def zeros(self, free: int) -> NDArray[Any]:
        """Zeros, each free axis being ``free`` long."""
        shape = [size if isinstance(size, int) else free for size in self.shape]
        return np.zeros(shape, self.dtype)


class OnnxNetwork:
    """A loaded network.

    Raises:
      PluginError: if ONNX Runtime is not installed.
      BundleError: if it cannot load the file.
    """

    def __init__(self, path: Path, *, num_threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise PluginError(
                "onnxruntime is not installed", fix="pip install 'calve[onnx]'"
            ) from error
        self.path = path
        check_external_data(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        # Its exceptions have no common base but this one.
        except Exception as error:
            raise BundleError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load the network: "
                f"{_first_line(error)}",
                where=path,
                fix="copy or export the bundle again",
            ) from error
        self.inputs = tuple(map(OnnxPort, self._session.get_inputs()))
        self.outputs = tuple(map(OnnxPort, self._session.get_outputs()))
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, *arrays: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs for these inputs, both in file order.

        Raises:
          BundleError: if the network does not take them.
        """
        feed = {port.name: array for port, array in zip(self.inputs, arrays, strict=True)}
        try:
            results: list[NDArray[Any]] = self._session.run(None, feed)
        except Exception as error:
            raise BundleError(
                f"ONNX Runtime cannot run the network: {_first_line(error)}", where=self.path
            ) from error
        return results


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
