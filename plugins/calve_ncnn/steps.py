"""Export steps from a torch model to an ncnn bundle; each works in an `ExportWorkspace`."""

from __future__ import annotations

import io
import json
import shutil
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch

from calve.api import ExportError
from calve.common.children import Child, run_children
from calve.protocols import ExportWorkspace
from calve.protocols.states import stream_axis
from calve_ncnn.architectures import architecture_of
from calve_ncnn.interface import NetworkToTrace, networks_to_trace
from calve_ncnn.layout import bin_path, param_path
from calve_ncnn.lint import lint
from calve_ncnn.metadata import store
from calve_ncnn.pnnx import Traced, convert, pnnx_version
from calve_ncnn.runtime import STATES_REPORT

__all__ = ["check_lint", "check_loading", "convert_networks", "stamp_metadata", "trace_networks"]

_LOAD_TIME_LIMIT = 120.0
_LOAD_MEMORY_LIMIT = 16 << 30
_PNNX_DTYPES = {torch.float32: "f32", torch.int64: "i64"}
_NCNN_DTYPES = {torch.float32: "float32", torch.int64: "int32"}


def trace_networks(workspace: ExportWorkspace) -> None:
    """Trace encoder, decoder and joiner into TorchScript files."""
    states = _state_shapes(workspace.export_form)
    _check_architecture(workspace, states)
    for network in _networks(workspace):
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about LSTM in oneDNN, shapes, TorchScript's age
                traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
                    network.module, network.inputs, check_trace=False
                )
                # Into memory first: torch's file writer aborts the process on a full disk.
                content = io.BytesIO()
                torch.jit.save(traced, content)
        except RuntimeError as error:
            raise ExportError(
                f"torch cannot trace the {network.name}: {str(error).splitlines()[0]}",
                fix="the export form's `stream` is called on plain tensors: see the encoder's code",
            ) from error
        (workspace.scratch / f"{network.name}.pt").write_bytes(content.getbuffer())
    workspace.report[STATES_REPORT] = {name: list(shape) for name, shape in states.items()}


def convert_networks(workspace: ExportWorkspace) -> None:
    """Convert the traced networks side by side and put them under icefall's names."""
    traced = [
        Traced(
            network.name,
            workspace.scratch / f"{network.name}.pt",
            _pnnx_shapes(network.inputs),
            _pnnx_shapes(network.other_inputs),
        )
        for network in _networks(workspace)
    ]
    options = workspace.options
    converted = convert(
        traced,
        workspace.scratch / "pnnx",
        fp16=options.fp16,
        time_limit=options.pnnx_time_limit,
    )
    for network in converted:
        shutil.move(network.param_path, param_path(workspace.folder, network.name))
        shutil.move(network.bin_path, bin_path(workspace.folder, network.name))
    precision = "fp16" if options.fp16 else "fp32"
    workspace.report["precision"] = {network.name: precision for network in converted}
    workspace.report["tools"] = {"pnnx": pnnx_version(), "ncnn": version("ncnn")}
    workspace.report["pnnx_seconds"] = {
        network.name: round(network.seconds, 2) for network in converted
    }


def stamp_metadata(workspace: ExportWorkspace) -> None:
    """Stamp SherpaMetaData into the encoder."""
    store.write(workspace.folder, workspace.metadata)


def check_lint(workspace: ExportWorkspace) -> None:
    """Look for anything that ncnn or sherpa-ncnn would crash on, before running it."""
    workspace.report_findings(lint(workspace.folder))


def check_loading(workspace: ExportWorkspace) -> None:
    """Load the networks in a child process and run each once; ncnn may crash or hang on them."""
    networks = {network.name: _load_task(network) for network in _networks(workspace)}
    task = {"folder": str(workspace.folder.resolve()), "networks": networks}
    child = Child(
        name="load",
        command=[sys.executable, "-m", "calve_ncnn.load_child"],
        folder=workspace.scratch,
        time_limit=_LOAD_TIME_LIMIT,
        input=json.dumps(task),
        memory_limit=_LOAD_MEMORY_LIMIT,
    )
    (outcome,) = run_children([child])
    if outcome.failure:
        raise ExportError(
            f"ncnn {version('ncnn')} could not run the converted networks: the check "
            f"{outcome.failure}; the end of its log:\n{outcome.tail}",
            fix="try another version of pnnx and ncnn, or write the network differently",
        )


def _state_shapes(encoder: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the states as ncnn has them, without the stream axis."""
    return {
        name: tuple(state.select(stream_axis(encoder.state_batch_axis, name), 0).shape)
        for name, state in encoder.init_states(1).items()
    }


def _check_architecture(workspace: ExportWorkspace, states: dict[str, tuple[int, ...]]) -> None:
    """See that sherpa-ncnn, which believes the metadata, would feed the encoder what it takes."""
    architecture = architecture_of(workspace.metadata)
    if architecture is None or architecture.missing(workspace.metadata):
        return  # what is missing is for the step that stamps to say
    wrong = list(architecture.disagreements(workspace.metadata, workspace.geometry, states))
    if wrong:
        raise ExportError(
            f"by its metadata, sherpa-ncnn would run the encoder {workspace.encoder_name!r} as "
            f"its {architecture.name}, and cannot: {'; '.join(wrong)}",
            fix="make the encoder and its metadata writer agree, or give arch a name of your own",
        )


def _networks(workspace: ExportWorkspace) -> Sequence[NetworkToTrace]:
    return networks_to_trace(workspace.export_form, workspace.model, workspace.metadata)


def _pnnx_shapes(inputs: Sequence[torch.Tensor]) -> tuple[str, ...]:
    return tuple(
        f"[{','.join(map(str, tensor.shape))}]{_PNNX_DTYPES[tensor.dtype]}" for tensor in inputs
    )


def _load_task(network: NetworkToTrace) -> dict[str, Any]:
    """What the loading child shall feed: shapes as ncnn has them, without the stream axis."""
    segments = [network.inputs, network.other_inputs] if network.other_inputs else [network.inputs]
    return {
        "runs": [
            [
                _ncnn_input(tensor, axis)
                for tensor, axis in zip(inputs, network.stream_axes, strict=True)
            ]
            for inputs in segments
        ],
        "outputs": network.outputs,
    }


def _ncnn_input(tensor: torch.Tensor, stream_axis: int | None) -> tuple[tuple[int, ...], str]:
    one_stream = tensor if stream_axis is None else tensor.select(stream_axis, 0)
    return tuple(one_stream.shape), _NCNN_DTYPES[tensor.dtype]
