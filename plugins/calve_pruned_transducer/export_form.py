"""The export form of the conformer: one segment of fixed length, with states as flat tensors.

`export_form` makes the network. The other functions change the layout of its states for the runtime
of a format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from calve.api import ConfigError
from calve_pruned_transducer.elementary import HIDDEN, ElementaryConformer
from calve_pruned_transducer.encoder import output_lens
from calve_transducer.layers.subsampling import SUBSAMPLING_FACTOR

__all__ = ["ConformerExportForm", "SherpaOnnxExportForm", "export_form", "for_sherpa_onnx"]


def export_form(encoder: Any) -> ConformerExportForm:
    """Make the export form of a plain `ConformerEncoder`.

    Raises:
      ConfigError: if the convolutions are not causal, or there is no left context.
    """
    return ConformerExportForm(encoder).eval()


def for_sherpa_onnx(form: ConformerExportForm) -> SherpaOnnxExportForm:
    """Change the states of an export form to the layout of sherpa-onnx.

    Raises:
      ConfigError: if the encoder also returns the frames of the right context, which sherpa-onnx
        would treat as new frames.
    """
    return SherpaOnnxExportForm(form).eval()


class ConformerExportForm(nn.Module):
    """A `calve.protocols.StreamingEncoder` for whole segments of ``geometry.segment`` frames.

    States, with L layers, N streams, D ``encoder_dim``, all zero at the start of a stream:

    * ``attention`` (N, L * left_context, D) and ``convolution`` (N, L * (cnn_module_kernel - 1),
      D): those of `ConformerEncoder.init_states`, layer after layer along the second axis;
    * ``filled`` (N, 1, left_context): 1 for each filled slot of an attention cache, else 0.
    """

    state_batch_axis = 0

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        encoder.check_causal()
        self.geometry = encoder.geometry
        if self.geometry.left_context < 1:
            raise ConfigError(
                "a conformer without left context cannot be exported: its cache would be empty",
                fix="give --left-context 1 or more",
            )
        self.feature_dim: int = encoder.feature_dim
        self.output_dim: int = encoder.output_dim
        self.network = ElementaryConformer(encoder)
        self.left_context = self.geometry.left_context
        self.right_context = self.geometry.right_context
        self.frames = self.geometry.output_frames + self.right_context
        self.counted = self.frames - (self.right_context if encoder.trims_right_context else 0)
        with torch.no_grad():
            positions = self.network.position_keys(self.frames, self.left_context)
        self.positions = nn.ParameterList(
            nn.Parameter(keys.contiguous(), requires_grad=False) for keys in positions
        )

    def init_states(self, batch_size: int) -> dict[str, Tensor]:
        """Zero states for ``batch_size`` streams."""
        layers, dim = len(self.network.layers), self.network.encoder_dim
        context = self.network.convolution_context
        return {
            "attention": torch.zeros(batch_size, layers * self.left_context, dim),
            "convolution": torch.zeros(batch_size, layers * context, dim),
            "filled": torch.zeros(batch_size, 1, self.left_context),
        }

    def stream(
        self, x: Tensor, x_lens: Tensor, states: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Run one step over a whole segment, like `ConformerEncoder.stream`.

        Args:
          x: (N, T, C) float32 features, T = ``geometry.segment``.
          x_lens: T for each row, integer or float; shorter lengths hide nothing.
          states: As `init_states` or the step before gave them.
        """
        layers = len(self.network.layers)
        # Padded instead of added to a number, because ncnn crashes when it overwrites an input. One
        # row instead of a vector, because ncnn crashes when it pads vectors of some lengths,
        # multiples of 8.
        filled = functional.pad(states["filled"], (0, self.frames), value=1.0)
        y, attention, convolution = self.step(
            x,
            filled,
            states["attention"].chunk(layers, 1),
            states["convolution"].chunk(layers, 1),
        )
        next_states = {
            "attention": torch.cat(attention, 1),
            "convolution": torch.cat(convolution, 1),
            "filled": filled[:, :, self.counted : self.counted + self.left_context],
        }
        return y, self.output_lens(x_lens), next_states

    def output_lens(self, x_lens: Tensor) -> Tensor:
        """Return the output frames for segments of ``x_lens`` frames, in the same dtype."""
        lens: Tensor = output_lens(x_lens) - (2 + self.frames - self.counted)
        return lens

    def step(
        self, x: Tensor, filled: Tensor, attention: Sequence[Tensor], convolution: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """`ElementaryConformer.step`.

        Args:
          filled: (N, 1, left_context + frames), 1 for frames that attention sees, else 0.
        """
        return self.network.step(
            x,
            ((filled - 1.0) * HIDDEN).unsqueeze(1),
            list(self.positions),
            list(attention),
            list(convolution),
            self.frames,
            self.left_context,
            self.right_context,
        )


class SherpaOnnxExportForm(nn.Module):
    """A `ConformerExportForm` whose states are those of sherpa-onnx.

    * ``attention`` (L, left_context, N, D) and ``convolution`` (L, cnn_module_kernel - 1, N, D);
    * ``processed_lens`` (N,) int64, *feature* frames advanced so far. sherpa-onnx counts them
      itself; other runtimes use the value that the step returns.
    """

    state_batch_axis: Mapping[str, int] = {"attention": 2, "convolution": 2, "processed_lens": 0}

    def __init__(self, form: ConformerExportForm) -> None:
        super().__init__()
        if form.counted > form.geometry.output_frames:
            raise ConfigError(
                "this encoder also returns the frames of its right context, which sherpa-onnx "
                "would treat as new frames",
                fix="export it with --right-context 0",
            )
        self.geometry = form.geometry
        self.feature_dim = form.feature_dim
        self.output_dim = form.output_dim
        self.export_form = form
        # A cached frame is visible if more frames are filled than follow it; new frames always are.
        after = torch.arange(form.left_context - 1, -1, -1, dtype=torch.float32)
        self.register_buffer("frames_after", torch.cat((after, -torch.ones(form.frames))))

    frames_after: Tensor

    def init_states(self, batch_size: int) -> dict[str, Tensor]:
        """Zero states for ``batch_size`` streams."""
        form, network = self.export_form, self.export_form.network
        layers, dim = len(network.layers), network.encoder_dim
        return {
            "attention": torch.zeros(layers, form.left_context, batch_size, dim),
            "convolution": torch.zeros(layers, network.convolution_context, batch_size, dim),
            "processed_lens": torch.zeros(batch_size, dtype=torch.int64),
        }

    def stream(
        self, x: Tensor, x_lens: Tensor, states: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Like `ConformerExportForm.stream`."""
        form, processed = self.export_form, states["processed_lens"]
        frames = processed.float() / SUBSAMPLING_FACTOR
        filled = frames.unsqueeze(1).unsqueeze(1) - self.frames_after
        y, attention, convolution = form.step(
            x,
            filled.clamp(0.0, 1.0),
            states["attention"].permute(0, 2, 1, 3).unbind(),
            states["convolution"].permute(0, 2, 1, 3).unbind(),
        )
        next_states = {
            "attention": torch.stack(attention).permute(0, 2, 1, 3),
            "convolution": torch.stack(convolution).permute(0, 2, 1, 3),
            "processed_lens": processed + self.geometry.shift,
        }
        return y, form.output_lens(x_lens), next_states
