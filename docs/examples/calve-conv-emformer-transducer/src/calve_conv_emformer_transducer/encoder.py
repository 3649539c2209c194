"""The network: Emformer layers (https://arxiv.org/abs/2010.10759) with convolutions.

A *chunk* is seen together with its *right context*, the first frames of the next chunk. Attention
also sees the frames just before the chunk, and a *memory*: the means of the chunks before it. What
is not there yet at the start of a stream is zero, in training as well, and nothing is masked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from calve_conv_emformer_transducer.config import SUBSAMPLING_FACTOR, Config
from calve_conv_emformer_transducer.past import Past, PastOfAllChunks, PastOfOneChunk

SILENCE = math.log(torch.finfo(torch.float32).eps)
"""A feature of digital silence, with which calve completes the last segment of a stream."""


class ConvEmformer(nn.Module):
    """A `calve.protocols.StreamingEncoder`.

    States of each layer i, with N streams and D ``encoder_dim``, in sherpa-ncnn's order and shapes:

    * ``memory{i}`` (N, memory_size, D): means of chunks;
    * ``key{i}``, ``value{i}`` (N, left_context_length, D): of the frames before the chunk;
    * ``convolution{i}`` (N, D, cnn_module_kernel - 1): what the convolution saw last.
    """

    feature_dim = 80
    state_batch_axis = 0

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.geometry = config.geometry
        dim = self.output_dim = config.encoder_dim
        self.front_end = nn.Sequential(
            nn.Conv1d(self.feature_dim, dim, kernel_size=3, stride=2),
            nn.ReLU(),
            nn.Conv1d(dim, dim, kernel_size=7, stride=2),
            nn.ReLU(),
        )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_encoder_layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, x_lens: Tensor) -> tuple[Tensor, Tensor]:
        """Whole utterances, all chunks at once.

        Args:
          x: (N, T, C) float32; what follows an utterance is taken for silence.
          x_lens: (N,) int64, feature frames of each.

        Returns:
          y (N, T', D) and y_lens (N,); frames that have no right context are left out.
        """
        geometry = self.geometry
        frames = geometry.frames_in(x.size(1))
        steps = max(1, math.ceil(frames / geometry.output_frames))
        ended = torch.arange(x.size(1), device=x.device) >= x_lens.unsqueeze(1)
        x = x.masked_fill(ended.unsqueeze(2), SILENCE)
        missing = steps * geometry.shift + geometry.overlap - x.size(1)
        x = functional.pad(x, (0, 0, 0, missing), value=SILENCE)
        seen = geometry.output_frames + geometry.right_context
        rows = self.embed(x).unfold(1, seen, geometry.output_frames).flatten(0, 1).transpose(1, 2)
        y = self.encode(rows, PastOfAllChunks(self.init_states(x.size(0))))
        return y.unflatten(0, (-1, steps)).flatten(1, 2)[:, :frames], self.output_lens(x_lens)

    def init_states(self, batch_size: int) -> dict[str, Tensor]:
        """Zero states for ``batch_size`` streams."""
        config, dim = self.config, self.output_dim
        shapes = {
            "memory": (config.memory_size, dim),
            "key": (config.left_context_length, dim),
            "value": (config.left_context_length, dim),
            "convolution": (dim, config.cnn_module_kernel - 1),
        }
        return {
            f"{name}{index}": self.norm.weight.new_zeros(batch_size, *shape)
            for index in range(len(self.layers))
            for name, shape in shapes.items()
        }

    def stream(
        self, x: Tensor, x_lens: Tensor, states: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """One step: x (N, ``geometry.segment``, C) -> y (N, T', D), y_lens (N,), next states."""
        past = PastOfOneChunk(states)
        y = self.encode(self.embed(x), past)
        return y, self.output_lens(x_lens), past.next_states

    def embed(self, x: Tensor) -> Tensor:
        """x (N, T, C) -> (N, (T - 11) // 4, D)."""
        y: Tensor = self.front_end(x.transpose(1, 2))
        return y.transpose(1, 2)

    def encode(self, x: Tensor, past: Past) -> Tensor:
        """x (rows, chunk + right context, D) -> y (rows, chunk, D)."""
        for index, layer in enumerate(self.layers):
            x = layer(x, past, index)
        y: Tensor = self.norm(x[:, : self.geometry.output_frames])
        return y

    def output_lens(self, x_lens: Tensor) -> Tensor:
        """Frames that utterances or segments of ``x_lens`` frames give, in the same dtype."""
        y_lens = torch.div(
            x_lens - self.geometry.overlap, SUBSAMPLING_FACTOR, rounding_mode="floor"
        )
        return y_lens.clamp(min=0)


class Layer(nn.Module):
    """Attention, convolution, feed-forward, each added to what it is given."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        dim = config.encoder_dim
        self.attention = Attention(config)
        self.convolution = Convolution(config)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, config.dim_feedforward),
            nn.ReLU(),
            nn.Linear(config.dim_feedforward, dim),
        )

    def forward(self, x: Tensor, past: Past, index: int) -> Tensor:
        """x (rows, chunk + right context, D) -> the same shape."""
        x = x + self.attention(x, past, index)
        x = x + self.convolution(x, past, index)
        y: Tensor = x + self.feed_forward(x)
        return y


class Attention(nn.Module):
    """From a chunk and its right context to themselves, the frames before, and the memory.

    Keys and values have no bias, so those of a memory that is empty are zeros.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        dim = config.encoder_dim
        self.nhead = config.nhead
        self.memory_size = config.memory_size
        self.chunk = config.geometry.output_frames
        self.frames = self.chunk + config.geometry.right_context
        self.seen = config.memory_size + config.left_context_length + self.frames
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.output = nn.Linear(dim, dim)

    def forward(self, x: Tensor, past: Past, index: int) -> Tensor:
        x = self.norm(x)
        memory = past.before(f"memory{index}", x[:, : self.chunk].mean(1, keepdim=True))
        remembered = torch.cat((memory, x), 1)
        key = self._with_frames_before(self.key(remembered), past, f"key{index}")
        value = self._with_frames_before(self.value(remembered), past, f"value{index}")
        query = self._heads(self.query(x), self.frames)
        scores = torch.matmul(query, self._heads(key, self.seen).transpose(2, 3))
        weights = torch.softmax(scores * query.size(3) ** -0.5, -1)
        attended = torch.matmul(weights, self._heads(value, self.seen)).transpose(1, 2)
        mixed: Tensor = self.output(attended.reshape(-1, self.frames, self.output.in_features))
        return mixed

    def _with_frames_before(self, x: Tensor, past: Past, name: str) -> Tensor:
        """Keys or values of memory, chunk and right context, and those that are cached."""
        memory, frames = x[:, : self.memory_size], x[:, self.memory_size :]
        return torch.cat((memory, past.before(name, frames[:, : self.chunk]), frames), 1)

    def _heads(self, x: Tensor, frames: int) -> Tensor:
        """(rows, frames, D) -> (rows, nhead, frames, D / nhead)."""
        head_dim = self.output.in_features // self.nhead
        return x.reshape(-1, frames, self.nhead, head_dim).transpose(1, 2)


class Convolution(nn.Module):
    """A gated causal convolution over each channel."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        dim = config.encoder_dim
        self.chunk = config.geometry.output_frames
        self.norm = nn.LayerNorm(dim)
        self.gate = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, config.cnn_module_kernel, groups=dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, x: Tensor, past: Past, index: int) -> Tensor:
        gated = functional.glu(self.gate(self.norm(x)), -1).transpose(1, 2)
        before = past.before(f"convolution{index}", gated[:, :, : self.chunk], axis=2)
        y = self.depthwise(torch.cat((before, gated), 2)).relu().transpose(1, 2)
        convolved: Tensor = self.output(y)
        return convolved
