"""SherpaMetaData: a line in the encoder's ``.param`` that tells sherpa-ncnn what it loads.

The layer has no blobs. Its parameter 0 names the architecture, the others are its sizes:

    SherpaMetaData           sherpa_meta_data1        0 0 0=3 1=12 2=512 3=1024
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from calve.api import ConfigError
from calve_ncnn.layout import param_path
from calve_ncnn.param import Layer, Parameter, ParamFile, Value

__all__ = ["LAYER_NAME", "LAYER_TYPE", "LSTM_ARCH", "infer_table", "store", "without_metadata"]

LAYER_TYPE = "SherpaMetaData"
LAYER_NAME = "sherpa_meta_data1"
LSTM_ARCH = 3

_ARCH = "arch"
_KEYS = {LSTM_ARCH: {1: "num_encoder_layers", 2: "encoder_dim", 3: "rnn_hidden_size"}}
"""Architecture -> parameter id -> readable key; ids that have no name are written as numbers."""


class SherpaMetadataStore:
    """A `calve.protocols.MetadataStore` for ncnn bundles, calve's own and foreign ones."""

    def recognises(self, bundle_dir: Path) -> bool:
        """Whether the directory holds an ncnn encoder under icefall's name."""
        return param_path(bundle_dir, "encoder").is_file()

    def read(self, bundle_dir: Path) -> dict[str, int | str] | None:
        """The stamped table with readable keys, or None if the encoder is not stamped."""
        return read_table(ParamFile.read(param_path(bundle_dir, "encoder")))

    def write(self, bundle_dir: Path, table: Mapping[str, int | str]) -> None:
        """Stamp the table right after the header, and make the header's counts right."""
        path = param_path(bundle_dir, "encoder")
        bare = without_metadata(ParamFile.read(path))
        bare.with_layers((_layer(table), *bare.layers)).write(path)

    def infer(self, bundle_dir: Path) -> dict[str, int | str] | None:
        """The table that the encoder's own layers call for, or None if they do not tell."""
        return infer_table(ParamFile.read(param_path(bundle_dir, "encoder")))


store = SherpaMetadataStore()


def read_table(param: ParamFile) -> dict[str, int | str] | None:
    """The stamped table of an encoder, or None."""
    layers = param.of_type(LAYER_TYPE)
    if not layers:
        return None
    arch = layers[0].get(0)
    names = {0: _ARCH} | (_KEYS.get(arch, {}) if isinstance(arch, int) else {})
    table = {names.get(item.id, str(item.id)): item.value for item in layers[0].parameters}
    return {key: value if isinstance(value, int) else _text(value) for key, value in table.items()}


def infer_table(param: ParamFile) -> dict[str, int | str] | None:
    """What SherpaMetaData must say about an encoder, judged by its layers.

    Returns:
      None if this is no LSTM transducer encoder, or its layers differ from one another.
    """
    sizes = {
        (layer.integer(0), layer.integer(3, layer.integer(0))) for layer in param.of_type("LSTM")
    }
    if len(sizes) != 1:
        return None
    encoder_dim, rnn_hidden_size = sizes.pop()
    return {
        _ARCH: LSTM_ARCH,
        "num_encoder_layers": len(param.of_type("LSTM")),
        "encoder_dim": encoder_dim,
        "rnn_hidden_size": rnn_hidden_size,
    }


def without_metadata(param: ParamFile) -> ParamFile:
    """The same network as ncnn itself knows it; the header's errors, if any, remain."""
    layers = tuple(layer for layer in param.layers if layer.type != LAYER_TYPE)
    removed = len(param.layers) - len(layers)
    return replace(param, layers=layers, declared_layers=param.declared_layers - removed)


def _layer(table: Mapping[str, int | str]) -> Layer:
    arch = table.get(_ARCH)
    if not isinstance(arch, int):
        raise ConfigError(
            "SherpaMetaData needs the architecture as a number",
            fix=f"give {_ARCH}, for example {_ARCH}={LSTM_ARCH} for an LSTM transducer",
        )
    ids = {_ARCH: 0} | {name: identifier for identifier, name in _KEYS.get(arch, {}).items()}
    parameters = []
    for key, value in table.items():
        identifier = int(key) if key.isdecimal() else ids.get(key)
        if identifier is None or not isinstance(value, int):
            raise ConfigError(
                f"SherpaMetaData of architecture {arch} cannot hold {key}={value}",
                fix=f"keys are {', '.join(ids)}, or a parameter's number; values are integers",
            )
        parameters.append(Parameter.of(identifier, value))
    missing = [name for name in ids if name not in table]
    if missing:
        raise ConfigError(
            f"SherpaMetaData of architecture {arch} also needs {', '.join(missing)}",
            fix="give all of them",
        )
    return Layer(LAYER_TYPE, LAYER_NAME, (), (), tuple(sorted(parameters, key=lambda p: p.id)))


def _text(value: Value) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
