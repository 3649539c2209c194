"""The conformer: a convolutional front end, then layers of attention and convolution.

State_dict keys and shapes are those of icefall's ``pruned_transducer_stateless`` recipes;
all sequences are batch first. The context of a frame depends on the mode:

* Whole utterances: everything; with causal convolutions, future frames only through attention.
* In chunks (`ConformerEncoder.simulate_streaming`): attention is masked to the frame's chunk and
  its left context.
* Step by step (`ConformerEncoder.stream`): the same, from caches. Each step cuts the first and the
  last frame that its front end returns, because they would differ in the middle of an utterance. A
  stream therefore begins with frame 1 of the utterance and equals attention in chunks that are
  counted from there. This holds for all full chunks without right context. The last, partial chunk
  of an utterance differs, because the features end and padding follows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from calve.api import ConfigError, StreamingGeometry
from calve_pruned_transducer.attention import relative_positions
from calve_pruned_transducer.blocks import Blocks
from calve_pruned_transducer.config import ConformerConfig
from calve_pruned_transducer.layer import ConformerLayers
from calve_pruned_transducer.masks import cache_mask, chunk_mask, padding_mask, random_chunk_mask
from calve_pruned_transducer.runtime_form import RuntimeConformer
from calve_transducer.layers.dropout import Dropout
from calve_transducer.layers.subsampling import SUBSAMPLING_FACTOR

__all__ = ["ConformerEncoder", "output_lens"]

FRONT_END_OVERLAP = 3
"""Feature frames that the front end needs in addition to `SUBSAMPLING_FACTOR` per output frame."""


class ConformerEncoder(nn.Module):
    """A `calve.protocols.StreamingEncoder`.

    States, with L layers, N streams, D ``encoder_dim``, all zero at the start of a stream:

    * ``attention`` (L, N, left_context, D): inputs of each layer's attention;
    * ``convolution`` (L, N, cnn_module_kernel - 1, D): inputs of each layer's depthwise
      convolution;
    * ``processed`` (1, N): output frames so far, float32; determines the filled part of
      ``attention``.

    The front end of the reworked generation pads by one frame. If T % 4 is 3, the last frame of an
    utterance therefore sees one frame of the padding in a batch.

    Args:
      config: Sizes and geometry.
      blocks: Building blocks, `PLAIN_BLOCKS` or `REWORKED_BLOCKS`.
    """

    state_batch_axis = 1

    def __init__(self, config: ConformerConfig, blocks: Blocks) -> None:
        super().__init__()
        dim = config.encoder_dim
        self.feature_dim = config.feature_dim
        self.output_dim = dim
        self.encoder_dim = dim
        self.causal_convolution = config.causal_convolution
        self.convolution_context = config.cnn_module_kernel - 1
        self.dynamic_chunk_training = config.dynamic_chunk_training
        self.short_chunk_size = config.short_chunk_size
        self.num_left_chunks = config.num_left_chunks
        self.trims_right_context = blocks.trims_right_context
        self.geometry = _geometry(config)
        self.right_context = config.right_context
        self.encoder_embed: Any = blocks.front_end(config)
        self.input_scale = dim**0.5 if blocks.scaled_input else 1.0
        self.dropout = Dropout(config.dropout)
        self.encoder = ConformerLayers(config, blocks)
        self.encoder_output_layer: nn.Module = nn.Identity()
        self.after_norm = blocks.norm(dim)

    def add_output_layer(self, output_dim: int) -> None:
        """Add a linear layer, so that the encoder returns ``output_dim`` values per frame."""
        self.encoder_output_layer = nn.Sequential(
            Dropout(self.dropout.p), nn.Linear(self.encoder_dim, output_dim)
        )
        self.output_dim = output_dim

    def train(self, mode: bool = True) -> ConformerEncoder:
        """Like `torch.nn.Module.train`.

        Raises:
          ConfigError: for training in chunks without causal convolutions: the model could not
            stream. icefall rejects this as well.
        """
        if mode and self.dynamic_chunk_training and not self.causal_convolution:
            raise ConfigError(
                "trained in chunks without causal convolutions, this conformer could not stream",
                where="--dynamic-chunk-training",
                fix="give --causal-convolution 1 as well, or neither",
            )
        super().train(mode)
        return self

    def forward(self, x: Tensor, x_lens: Tensor, warmup: float = 1.0) -> tuple[Tensor, Tensor]:
        """Encode whole utterances; during dynamic chunk training, in chunks of random size.

        Args:
          x: (N, T, C) float32 features, T >= 7.
          x_lens: (N,) frames of each utterance.
          warmup: Progress of the warm-up in training; from 1 on, all layers have full effect.

        Returns:
          y (N, T', D) and y_lens (N,), T' = (T - 3) // 4.
        """
        embedded, y_lens = self.encoder_embed(x), output_lens(x_lens)
        padding = padding_mask(y_lens, embedded.size(1))
        hidden = padding.unsqueeze(1)
        if self.training and self.dynamic_chunk_training:
            hidden = hidden | random_chunk_mask(
                embedded.size(1), self.short_chunk_size, self.num_left_chunks, x.device
            )
        return self._encode(embedded, hidden, padding, warmup), y_lens

    def simulate_streaming(
        self, x: Tensor, x_lens: Tensor, *, chunk_size: int, left_context: int
    ) -> tuple[Tensor, Tensor]:
        """Encode whole utterances with attention masked to chunks, as in streaming.

        Args:
          x: (N, T, C) float32 features, T >= 7.
          x_lens: (N,) frames of each utterance.
          chunk_size: Output frames per chunk; -1 is full attention.
          left_context: Visible output frames before a chunk; -1 for all.

        Returns:
          y (N, T', D) and y_lens (N,), T' = (T - 3) // 4.

        Raises:
          ConfigError: if the convolutions are not causal, or ``chunk_size`` is 0.
        """
        return self.encode_in_chunks(
            self.encoder_embed(x),
            output_lens(x_lens),
            chunk_size=chunk_size,
            left_context=left_context,
        )

    def encode_in_chunks(
        self, embedded: Tensor, lens: Tensor, *, chunk_size: int, left_context: int
    ) -> tuple[Tensor, Tensor]:
        """Like `simulate_streaming`, from the front end's output (N, T', D) and lengths (N,)."""
        self.check_causal()
        if chunk_size == 0:
            raise ConfigError("a chunk of 0 frames", fix="give 1 or more, or -1 for full attention")
        size = embedded.size(1)
        padding = padding_mask(lens, size)
        in_chunks = chunk_mask(size, chunk_size, left_context, embedded.device)
        hidden = padding.unsqueeze(1) | in_chunks
        return self._encode(embedded, hidden, padding, warmup=1.0), lens

    def stream_at_once(self, x: Tensor, x_lens: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the result of `stream` over whole segments in one call, with masks.

        The right context is omitted: a mask cannot show it to one chunk and hide it from the next.

        Args:
          x: (N, T, C) float32 features, T >= 15.
          x_lens: (N,) frames of each utterance, a whole number of steps.

        Returns:
          y (N, T', D) and y_lens (N,), T' = (T - 3) // 4 - 2.

        Raises:
          ConfigError: if the convolutions are not causal.
        """
        return self.encode_in_chunks(
            self.encoder_embed(x)[:, 1:-1],
            output_lens(x_lens) - 2,
            chunk_size=self.geometry.output_frames,
            left_context=self.geometry.left_context,
        )

    def check_causal(self) -> None:
        """Raise `ConfigError` if the convolutions see future frames: such a model cannot stream."""
        if not self.causal_convolution:
            raise ConfigError(
                "this conformer cannot stream: its convolutions see future frames",
                fix="train it with --causal-convolution 1; if it was, and the checkpoint does not "
                "contain the option, give it again, otherwise its results are wrong",
            )

    def init_states(self, batch_size: int) -> dict[str, Tensor]:
        """Return zero states for ``batch_size`` streams.

        Raises:
          ConfigError: if the convolutions are not causal: such a model cannot stream.
        """
        self.check_causal()
        reference = self.encoder_embed.out.weight
        layers = len(self.encoder.layers)
        return {
            "attention": reference.new_zeros(
                layers, batch_size, self.geometry.left_context, self.encoder_dim
            ),
            "convolution": reference.new_zeros(
                layers, batch_size, self.convolution_context, self.encoder_dim
            ),
            "processed": reference.new_zeros(1, batch_size),
        }

    def stream(
        self,
        x: Tensor,
        x_lens: Tensor,
        states: dict[str, Tensor],
        right_context: int | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Run one step over a segment; segments overlap by ``geometry.overlap`` frames.

        With a right context the reworked generation returns the frames of the chunk only. The first
        generation also returns those of the right context; the next step returns them again and
        counts both, as in icefall.

        Args:
          x: (N, T, C) float32 features, T >= 15 + 4 * right_context.
          x_lens: (N,) frames of each row; integer or float. A stream's last segment may be short;
            frames after its end are hidden from the attention, but not from the convolution.
          states: From `init_states` or the previous step; the size of ``attention`` determines the
            left context.
          right_context: Frames to look ahead; the configured ones by default.

        Returns:
          y (N, S, D), y_lens (N,) of the dtype of ``x_lens``, and the next states. y_lens can be
          negative for rows that have already ended.
        """
        embedded = self.encoder_embed(x)[:, 1:-1]
        y_lens = output_lens(x_lens) - 2
        size = embedded.size(1)
        attention = states["attention"]
        left_context = attention.size(2)
        hidden = torch.cat(
            (cache_mask(states["processed"][0], left_context), padding_mask(y_lens, size)), dim=1
        )
        if right_context is None:
            right_context = self.right_context
        y, attention, convolution = self.encoder.stream(
            embedded * self.input_scale,
            relative_positions(size, left_context, embedded),
            hidden.unsqueeze(1),
            attention,
            states["convolution"],
            kept=size - right_context,
        )
        if self.trims_right_context:
            y, y_lens = y[:, : size - right_context], y_lens - right_context
        next_states = {
            "attention": attention,
            "convolution": convolution,
            "processed": states["processed"] + y_lens,
        }
        return self._output(y), y_lens, next_states

    def runtime_form(self) -> RuntimeConformer:
        """Return the form that the torch runtime uses, if this encoder is plain (converted)."""
        return RuntimeConformer(self)

    def step_lens(self, x_lens: Tensor) -> Tensor:
        """Output frames of one step over segments of ``x_lens`` (N,) frames, in the same dtype."""
        y_lens = output_lens(x_lens) - 2
        return y_lens - self.right_context if self.trims_right_context else y_lens

    def _encode(self, embedded: Tensor, hidden: Tensor, padding: Tensor, warmup: float) -> Tensor:
        positions = relative_positions(embedded.size(1), 0, embedded)
        x = self.dropout(embedded * self.input_scale)
        return self._output(
            self.encoder(x, self.dropout(positions), hidden, padding, warmup=warmup)
        )

    def _output(self, x: Tensor) -> Tensor:
        y: Tensor = self.encoder_output_layer(self.after_norm(x))
        return y


def output_lens(
    x_lens: Tensor, overlap: int = FRONT_END_OVERLAP, factor: int = SUBSAMPLING_FACTOR
) -> Tensor:
    """Return the encoder frames for ``x_lens`` feature frames, in the same dtype."""
    # The constants are arguments because a scripted function cannot access others.
    return torch.div(x_lens - overlap, factor, rounding_mode="floor")


def _geometry(config: ConformerConfig) -> StreamingGeometry:
    # Two frames of the front end's output are cut, one on each side.
    cut_frames = 2 + config.right_context
    return StreamingGeometry(
        shift=config.decode_chunk_size * SUBSAMPLING_FACTOR,
        overlap=cut_frames * SUBSAMPLING_FACTOR + FRONT_END_OVERLAP,
        step_overlap=cut_frames * SUBSAMPLING_FACTOR,
        subsampling_factor=SUBSAMPLING_FACTOR,
        left_context=config.left_context,
        right_context=config.right_context,
        dynamic=False,
    )
