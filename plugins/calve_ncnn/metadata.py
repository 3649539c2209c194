"""The metadata line in the encoder's ``.param``: a layer without blobs that identifies the model.

SherpaMetaData is sherpa-ncnn's. Its parameter 0 is the number of an architecture that sherpa-ncnn
knows, the others are sizes (`calve_ncnn.architectures`):

    SherpaMetaData           sherpa_meta_data1        0 0 0=3 1=12 2=512 3=1024

An architecture that sherpa-ncnn has no number for goes by a name, in calve's own words. They are
the name of a layer that every ncnn has, which does nothing, so every ncnn loads the file as it is:

    Noop                     calve_meta_data:arch=conformer,num_encoder_layers=24 0 0
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from calve.api import ConfigError
from calve_ncnn.architectures import ARCH, LSTM, architecture_of
from calve_ncnn.layout import param_path
from calve_ncnn.param import IDENTIFIERS, INTEGERS, Layer, Parameter, ParamFile, Value

__all__ = [
    "LAYER_NAME",
    "LAYER_TYPE",
    "infer_table",
    "read_own_table",
    "read_table",
    "store",
    "without_metadata",
]

LAYER_TYPE = "SherpaMetaData"
LAYER_NAME = "sherpa_meta_data1"

_OWN_TYPE = "Noop"
_OWN_PREFIX = "calve_meta_data:"
_LONGEST_NAME = 255
_COUNT = re.compile(r"[0-9]{1,18}")
_WORD = re.compile(r"[\w.+-]+")


class SherpaMetadataStore:
    """A `calve.protocols.MetadataStore` for ncnn bundles, calve's own and foreign ones."""

    def recognizes(self, bundle_dir: Path) -> bool:
        """Whether the directory holds an ncnn encoder under icefall's name."""
        return param_path(bundle_dir, "encoder").is_file()

    def read(self, bundle_dir: Path) -> dict[str, int | str] | None:
        """The stamped table with readable keys, or None if the encoder is not stamped."""
        return read_table(ParamFile.read(param_path(bundle_dir, "encoder")))

    def write(self, bundle_dir: Path, table: Mapping[str, int | str]) -> None:
        """Stamp the table right after the header, and make the header's counts right.

        Raises:
          ConfigError: if the table is incomplete, or the line cannot hold it.
        """
        path = param_path(bundle_dir, "encoder")
        layer = _own_layer(table) if isinstance(table.get(ARCH), str) else _layer(table)
        param = ParamFile.read(path)
        bare = (one for one in param.layers if one.type != LAYER_TYPE and not _is_own(one))
        param.with_layers((layer, *bare)).write(path)

    def infer(self, bundle_dir: Path) -> dict[str, int | str] | None:
        """The table that the encoder's own layers call for, or None if they do not tell."""
        return infer_table(ParamFile.read(param_path(bundle_dir, "encoder")))


store = SherpaMetadataStore()


def read_table(param: ParamFile) -> dict[str, int | str] | None:
    """The stamped table of an encoder, or None."""
    layers = param.of_type(LAYER_TYPE)
    if not layers:
        return read_own_table(param)
    names = {identifier: key for key, identifier in _identifiers(layers[0].get(0)).items()}
    table = {names.get(item.id, str(item.id)): item.value for item in layers[0].parameters}
    return {key: value if isinstance(value, int) else _text(value) for key, value in table.items()}


def read_own_table(param: ParamFile) -> dict[str, int | str] | None:
    """The table of an encoder whose architecture only calve knows, or None."""
    for layer in filter(_is_own, param.layers):
        items = (item.partition("=") for item in layer.name.removeprefix(_OWN_PREFIX).split(","))
        return {key: int(value) if _COUNT.fullmatch(value) else value for key, _, value in items}
    return None


def infer_table(param: ParamFile) -> dict[str, int | str] | None:
    """What SherpaMetaData must say about an encoder, judged by its layers.

    Returns:
      None if this is no LSTM transducer encoder, its layers differ from one another, or a size is
      no whole number.
    """
    try:
        sizes = {
            (layer.integer(0), layer.integer(3, layer.integer(0)))
            for layer in param.of_type("LSTM")
        }
    except ValueError:
        return None
    if len(sizes) != 1:
        return None
    encoder_dim, rnn_hidden_size = sizes.pop()
    return {
        ARCH: LSTM.number,
        "num_encoder_layers": len(param.of_type("LSTM")),
        "encoder_dim": encoder_dim,
        "rnn_hidden_size": rnn_hidden_size,
    }


def without_metadata(param: ParamFile) -> ParamFile:
    """The same network without SherpaMetaData, which ncnn itself does not know.

    The header's errors, if any, remain.
    """
    layers = tuple(layer for layer in param.layers if layer.type != LAYER_TYPE)
    removed = len(param.layers) - len(layers)
    return replace(param, layers=layers, declared_layers=param.declared_layers - removed)


def _layer(table: Mapping[str, int | str]) -> Layer:
    arch = table.get(ARCH)
    if not isinstance(arch, int):
        raise ConfigError(
            "SherpaMetaData needs the architecture as a number",
            fix=f"give {ARCH}, for example {ARCH}={LSTM.number} for an LSTM transducer",
        )
    ids = _identifiers(arch)
    parameters = []
    for key, value in table.items():
        identifier = int(key) if _COUNT.fullmatch(key) else ids.get(key)
        if (
            identifier is None
            or identifier not in IDENTIFIERS
            or not isinstance(value, int)
            or value not in INTEGERS
        ):
            raise ConfigError(
                f"SherpaMetaData of architecture {arch} cannot hold {key}={value}",
                fix=f"keys are {', '.join(ids)}, or a parameter's number from 0 to 31; "
                "values are integers of 32 bits",
            )
        parameters.append(Parameter.of(identifier, value))
    missing = [name for name in ids if name not in table]
    if missing:
        raise ConfigError(
            f"SherpaMetaData of architecture {arch} also needs {', '.join(missing)}",
            fix="give all of them",
        )
    return Layer(LAYER_TYPE, LAYER_NAME, (), (), tuple(sorted(parameters, key=lambda p: p.id)))


def _identifiers(arch: Value | None) -> dict[str, int]:
    """Readable key -> parameter number; a parameter that has no name goes by its number."""
    known = architecture_of({ARCH: arch}) if isinstance(arch, int) else None
    return {key: number for number, key in enumerate((ARCH, *(known.keys if known else ())))}


def _own_layer(table: Mapping[str, int | str]) -> Layer:
    for key, value in table.items():
        if not (_WORD.fullmatch(key) and _WORD.fullmatch(str(value))):
            raise ConfigError(
                f"the metadata of an ncnn encoder cannot hold {key}={value}",
                fix="give plain words and numbers",
            )
    name = _OWN_PREFIX + ",".join(f"{key}={value}" for key, value in table.items())
    if len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"the metadata take {len(name)} characters, a layer's name in ncnn at most "
            f"{_LONGEST_NAME}",
            fix="leave some keys out",
        )
    return Layer(_OWN_TYPE, name, (), ())


def _is_own(layer: Layer) -> bool:
    return layer.type == _OWN_TYPE and layer.name.startswith(_OWN_PREFIX)


def _text(value: Value) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
