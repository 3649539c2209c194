"""Export steps from a torch model to an ONNX bundle; each works in an `ExportWorkspace`."""

from __future__ import annotations

import io
import warnings
from importlib.metadata import version
from pathlib import Path

import onnx
import torch

from calve.api import ExportError
from calve.protocols import ExportWorkspace
from calve_onnx.interface import NetworkToExport, networks_to_export
from calve_onnx.layout import NETWORKS, new_network_path
from calve_onnx.lint import lint
from calve_onnx.metadata import stamp, store
from calve_onnx.precision import CONVERTERS
from calve_onnx.runtime import STATES_REPORT

__all__ = ["check_lint", "convert_precision", "export_networks", "stamp_metadata"]


def export_networks(workspace: ExportWorkspace) -> None:
    """Export encoder, decoder and joiner in float32."""
    for network in networks_to_export(
        workspace.export_form, workspace.model, workspace.state_names
    ):
        content = _export(network, workspace.options.opset)
        onnx.checker.check_model(content, full_check=True)
        _scratch(workspace, network.name).write_bytes(content)
    workspace.report[STATES_REPORT] = list(workspace.export_form.init_states(1))
    workspace.report["tools"] = {name: version(name) for name in ("onnx", "onnxruntime")}


def convert_precision(workspace: ExportWorkspace) -> None:
    """Write the networks with their weights in the precision that was asked for."""
    precision = workspace.options.precision
    for network in NETWORKS:
        model = onnx.load(_scratch(workspace, network))
        path = new_network_path(workspace.folder, network, precision)
        CONVERTERS[precision](model, path)
    workspace.report["precision"] = dict.fromkeys(NETWORKS, precision)


def stamp_metadata(workspace: ExportWorkspace) -> None:
    """Stamp the encoder's table, and what sherpa-onnx reads from the other two."""
    config, precision = workspace.config["model"], workspace.options.precision
    tables: dict[str, dict[str, int | str]] = {
        "decoder": {
            "context_size": config["context_size"],
            "vocab_size": config["vocab_size"],
        },
        "joiner": {"joiner_dim": _input_dim(_scratch(workspace, "joiner"))},
    }
    for network, table in tables.items():
        stamp(new_network_path(workspace.folder, network, precision), table)
    store.write(workspace.folder, workspace.metadata)


def check_lint(workspace: ExportWorkspace) -> None:
    """Look for anything that a runtime would refuse or misread."""
    workspace.report_findings(lint(workspace.folder))


def _export(network: NetworkToExport, opset: int) -> bytes:
    content = io.BytesIO()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about TorchScript's age, constants, shapes
            torch.onnx.export(
                network.module.eval(),
                tuple(network.inputs.values()),
                content,  # type: ignore[arg-type]  # it may well be a file object here
                input_names=list(network.inputs),
                output_names=list(network.outputs),
                dynamic_axes=network.axes,
                opset_version=opset,
                dynamo=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ExportError(
            f"torch cannot export the {network.name} to ONNX: {str(error).splitlines()[0]}",
            fix="the export form's `stream` is called on plain tensors: see the encoder's code",
        ) from error
    return content.getvalue()


def _input_dim(path: Path) -> int:
    """Numbers per frame that a network takes."""
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape
    return int(shape.dim[-1].dim_value)


def _scratch(workspace: ExportWorkspace, network: str) -> Path:
    return workspace.scratch / f"{network}.onnx"
