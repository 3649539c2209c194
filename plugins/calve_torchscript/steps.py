"""Export steps from a torch model to files that torch loads, in an `ExportWorkspace`."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from calve.api import ExportError
from calve.protocols import ExportWorkspace
from calve_torchscript.interface import compile_encoder, compile_offline_encoder, compile_plain
from calve_torchscript.layout import (
    MODEL_FILE,
    NETWORKS,
    WEIGHTS_FILE,
    network_path,
    save_module,
)
from calve_torchscript.lint import lint
from calve_torchscript.metadata import CLASS_NAME
from calve_torchscript.sessions import STATES_REPORT

__all__ = ["check_lint", "compile_networks", "write_model", "write_networks", "write_weights"]


def write_weights(workspace: ExportWorkspace) -> None:
    """Write ``pretrained.pt``: the trained model's state_dict under "model", nothing else."""
    content = io.BytesIO()
    torch.save({"model": workspace.trained.state_dict()}, content)
    (workspace.folder / WEIGHTS_FILE).write_bytes(content.getbuffer())
    workspace.report["precision"] = dict.fromkeys(NETWORKS, "fp32")


def compile_networks(workspace: ExportWorkspace) -> None:
    """Compile the networks; the encoder in sherpa's interface of its class."""
    model = workspace.model
    try:
        compiled = {
            "encoder": _compile_encoder(workspace),
            "decoder": compile_plain(model.decoder),
            "joiner": compile_plain(model.joiner),
        }
    except (RuntimeError, torch.jit.frontend.NotSupportedError) as error:
        raise ExportError(
            f"torch cannot compile the model: {str(error).strip().splitlines()[0]}",
            fix="write it in what TorchScript knows",
        ) from error
    for network, module in compiled.items():
        save_module(module, _scratch(workspace, network))
    workspace.geometry = replace(workspace.geometry, dynamic=True)
    workspace.metadata = {CLASS_NAME: compiled["encoder"].original_name}
    workspace.report["precision"] = dict.fromkeys(NETWORKS, "fp32")


def _compile_encoder(workspace: ExportWorkspace) -> Any:
    class_name = str(workspace.metadata[CLASS_NAME])
    encoder, geometry = workspace.model.encoder, workspace.geometry
    if not workspace.streaming:
        return compile_offline_encoder(class_name, encoder, geometry)
    if class_name == "RNN" and workspace.config["model"]["context_size"] < 2:
        raise ExportError(
            "sherpa reads the context size from the decoder's convolution, and a decoder that sees "
            "one symbol has none",
            fix="export it to onnx, or train with --context-size 2",
        )
    workspace.report[STATES_REPORT] = list(encoder.init_states(1))
    return compile_encoder(class_name, encoder, geometry)


def write_networks(workspace: ExportWorkspace) -> None:
    """Put each network into a file of its own."""
    for network in NETWORKS:
        # They may lie on different file systems, between which nothing can be renamed.
        shutil.move(_scratch(workspace, network), network_path(workspace.folder, network))


def write_model(workspace: ExportWorkspace) -> None:
    """Put the networks into one file, as attributes of one module."""
    model = nn.Module()
    for network in NETWORKS:
        module: Any = torch.jit.load(_scratch(workspace, network))  # type: ignore[no-untyped-call]
        model.add_module(network, module)
    save_module(compile_plain(model.eval()), workspace.folder / MODEL_FILE)


def check_lint(workspace: ExportWorkspace) -> None:
    """Look for anything that sherpa calls and the networks do not have."""
    workspace.report_findings(lint(workspace.folder))


def _scratch(workspace: ExportWorkspace, network: str) -> Path:
    return workspace.scratch / f"{network}.pt"
