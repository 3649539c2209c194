"""The quantization plan: int8 layers with their scales, and the reasons for the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calve.api import BundleError, ConfigError, DataError
from calve_ncnn.int8.layers import (
    INT8_TYPES,
    int8_weights,
    is_int8,
    takes_fixed_range,
)
from calve_ncnn.int8.quantize import NetworkFiles
from calve_ncnn.int8.scales import weight_scales
from calve_ncnn.int8.table import ScaleTable

__all__ = ["NetworkPlan", "assign_tables", "make_plans", "resolve_kept"]


@dataclass(frozen=True)
class NetworkPlan:
    """What shall become of one network.

    Attributes:
      network: The source.
      reasons: Why a layer stays as it is, by layer, for every layer that does.
      table: Scales of the layers that become int8.
    """

    network: NetworkFiles
    reasons: Mapping[str, str]
    table: ScaleTable

    @property
    def int8(self) -> list[str]:
        """The layers that become int8, in file order."""
        return [name for name in self.network.layers if name not in self.reasons]

    @property
    def watched(self) -> dict[str, str]:
        """Layer -> input blob, for the layers that become int8 and need a fixed input range."""
        return {
            name: self.network.layers[name].inputs[0]
            for name in self.int8
            if takes_fixed_range(self.network.layers[name])
        }

    def with_inputs(self, inputs: Mapping[str, float]) -> NetworkPlan:
        """The same plan with these input scales."""
        return replace(self, table=replace(self.table, inputs=dict(inputs)))

    def without(self, kept: Collection[str], reason: str) -> NetworkPlan:
        """The same plan with some layers left in fp16."""
        left = {name for name in self.int8 if name in kept}
        return NetworkPlan(
            self.network,
            {**self.reasons, **dict.fromkeys(left, reason)},
            _without(self.table, left),
        )


def make_plans(
    networks: Sequence[NetworkFiles],
    layer_types: Collection[str],
    kept: Collection[tuple[str, str]],
    tables: Mapping[str, ScaleTable],
) -> list[NetworkPlan]:
    """Decide layer by layer.

    Args:
      networks: The source bundle's.
      layer_types: Types to quantize.
      kept: (network, layer) that stay in fp16 because somebody said so.
      tables: Given scale tables by network; what they name is quantized whatever its type.

    Raises:
      BundleError: if a layer is int8 already.
      ConfigError: if a type has no int8 mode.
      DataError: if a table does not fit its network.
    """
    unknown = [name for name in layer_types if name not in INT8_TYPES]
    if unknown:
        raise ConfigError(
            f"ncnn has no int8 mode for layers of type {', '.join(unknown)}",
            fix=f"choose among {', '.join(INT8_TYPES)}",
        )
    return [
        _make_plan(network, layer_types, kept, tables.get(network.name)) for network in networks
    ]


def _make_plan(
    network: NetworkFiles,
    layer_types: Collection[str],
    kept: Collection[tuple[str, str]],
    table: ScaleTable | None,
) -> NetworkPlan:
    reasons = {}
    named = frozenset() if table is None else table.layers
    for name, layer in network.layers.items():
        if is_int8(layer):
            raise BundleError(
                f"{name} of the {network.name} is int8 already",
                where=network.param.path,
                fix="quantize the fp32 or fp16 bundle that it was made from",
            )
        if not int8_weights(layer):
            reasons[name] = f"ncnn has no int8 mode for this {layer.type}"
        elif (network.name, name) in kept:
            reasons[name] = "kept by --keep-fp16"
        elif layer.type not in layer_types and name not in named:
            reasons[name] = f"{layer.type} is not among --layer-types"
    plan = NetworkPlan(network, reasons, ScaleTable())
    weights = {name: _weights(network, name, table) for name in plan.int8}
    inputs = {} if table is None else _inputs(plan, table)
    return replace(plan, table=ScaleTable(weights, inputs))


def _weights(
    network: NetworkFiles, name: str, table: ScaleTable | None
) -> dict[str, NDArray[np.float32]]:
    """From the table where it has them, else from the weights themselves."""
    layer = network.layers[name]
    scales = weight_scales(layer, network.arrays(name))
    if not all(np.isfinite(values).all() and values.all() for values in scales.values()):
        raise BundleError(
            f"{name} of the {network.name} has weights that are NaN or infinite",
            where=network.param.path,
            fix="export a checkpoint whose training did not diverge",
        )
    given = {} if table is None else dict(table.weights.get(name, {}))
    for key, values in given.items():
        if key not in scales:
            raise _misfit(table, f"{name} ({layer.type}) has no weight {key.lstrip('_')}")
        if values.size != scales[key].size:
            raise _misfit(
                table, f"{name}{key} has {values.size} scales, the layer needs {scales[key].size}"
            )
    return scales | given


def _inputs(plan: NetworkPlan, table: ScaleTable) -> dict[str, float]:
    missing = [name for name in plan.watched if name not in table.inputs]
    if missing:
        raise DataError(
            f"the table has no input scale for {', '.join(missing)} of the {plan.network.name}",
            where=table.path,
            fix=f"calibrate anew, or leave them as they are: --keep-fp16 {','.join(missing)}",
        )
    return {name: table.inputs[name] for name in plan.watched}


def _misfit(table: ScaleTable | None, what: str) -> DataError:
    return DataError(
        what,
        where=None if table is None else table.path,
        fix="use the table that was made for this very model, or calibrate anew",
    )


def assign_tables(paths: Iterable[Path], networks: Sequence[NetworkFiles]) -> dict[str, ScaleTable]:
    """Find out which network each table is for, by the layers that it names.

    Raises:
      DataError: if a table names a layer that no network has, or fits several networks and its
        file name begins with none of theirs.
    """
    tables: dict[str, ScaleTable] = {}
    for path in paths:
        table = ScaleTable.read(path)
        fitting = [one.name for one in networks if table.layers <= set(one.layers)]
        if not fitting:
            raise _unknown_layers(table, networks)
        called = [name for name in fitting if path.name.startswith(name)]
        if len(fitting) > 1 and len(called) != 1:
            raise DataError(
                f"the table fits the {' and the '.join(fitting)}",
                where=path,
                fix=f"begin its file name with the network's, as in {fitting[0]}-{path.name}",
            )
        name = called[0] if called else fitting[0]
        if name in tables:
            raise DataError(
                f"there are two tables for the {name}", where=f"{tables[name].path} and {path}"
            )
        tables[name] = table
    return tables


def _unknown_layers(table: ScaleTable, networks: Sequence[NetworkFiles]) -> DataError:
    nearest = max(networks, key=lambda one: len(table.layers & set(one.layers)))
    unknown = sorted(table.layers - set(nearest.layers))
    return DataError(
        f"the table names layers that the {nearest.name} does not have: {', '.join(unknown[:5])}",
        where=table.path,
        fix="use the table that was made for this very model, or calibrate anew",
    )


def resolve_kept(
    names: Iterable[str], networks: Sequence[NetworkFiles]
) -> frozenset[tuple[str, str]]:
    """What NAME or NETWORK/NAME stand for.

    Raises:
      ConfigError: if there is no such layer, or several networks have one of that name.
    """
    known = [(network.name, layer) for network in networks for layer in network.layers]
    kept = set()
    for name in names:
        found = [pair for pair in known if name in (pair[1], "/".join(pair))]
        if len(found) != 1:
            layers = ", ".join(f"{one.name}/{layer}" for one in networks for layer in one.layers)
            what = "several networks have" if found else "no network has"
            raise ConfigError(f"{what} a layer {name}", fix=f"layers are {layers}")
        kept.update(found)
    return frozenset(kept)


def _without(table: ScaleTable, layers: Collection[str]) -> ScaleTable:
    return ScaleTable(
        {name: keys for name, keys in table.weights.items() if name not in layers},
        {name: scale for name, scale in table.inputs.items() if name not in layers},
        table.path,
    )
