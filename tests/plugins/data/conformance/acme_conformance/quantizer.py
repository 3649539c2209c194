import torch

from calve.protocols import (
    CalibrationReport,
    LayerReport,
    QuantizationReport,
    QuantizationWorkspace,
)

FILE = "pretrained.pt"


def quantize(workspace: QuantizationWorkspace) -> QuantizationReport:
    """Weights as multiples of a 127th of the largest, kept in half as many bytes."""
    weights = torch.load(workspace.bundle.path / FILE, weights_only=True)["model"]
    rounded = {name: _rounded(weight).half() for name, weight in weights.items()}
    torch.save({"model": rounded}, workspace.folder / FILE)
    return QuantizationReport(
        scheme="rounded",
        precision=dict.fromkeys(workspace.bundle.manifest.precision, "rounded"),
        layers=tuple(
            LayerReport(
                network=name.split(".")[0],
                layer=name,
                type="tensor",
                precision="rounded",
                reason="all are",
                parameters=weight.numel(),
                bytes_before=4 * weight.numel(),
                bytes_after=2 * weight.numel(),
            )
            for name, weight in weights.items()
        ),
        calibration=CalibrationReport("none"),
    )


def _rounded(weight):
    scale = weight.abs().max().clamp(min=1e-9) / 127
    return (weight / scale).round() * scale
