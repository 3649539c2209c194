"""The architectures that sherpa-ncnn supports by number, and their inputs.

sherpa-ncnn makes an encoder's states itself, from the sizes in SherpaMetaData, and feeds and reads
blobs by number: it never asks the network, and crashes or prints nonsense where they disagree. The
rules are those of its ``csrc/lstm-model.cc`` and ``csrc/conv-emformer-model.{h,cc}``. Its Zipformer
(number 2) is not here: it takes states in other shapes than it wants them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from calve.api import StreamingGeometry
from calve.bundles.metadata import MetadataTable
from calve.common.ranges import Range

__all__ = [
    "ARCH",
    "LSTM",
    "Architecture",
    "architecture_of",
    "encoder_outputs",
    "first_state",
    "has_frame_count",
]

ARCH = "arch"
"""Key of the architecture in a table: a number that sherpa-ncnn knows, or a name of calve's own."""

_SIZES = Range(0, 65_536)
"""Of layers, widths and lengths; what is made of larger ones may not fit into the memory."""

Sizes = Mapping[str, int]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Architecture:
    """What sherpa-ncnn does with an encoder of one number.

    Attributes:
      number: Parameter 0 of SherpaMetaData.
      name: What sherpa-ncnn calls it.
      keys: Readable keys of the other parameters, from 1 on.
      has_frame_count: Whether it feeds the number of feature frames as in1, before the states, and
        leaves out1 unread; otherwise states begin at in1 and out1.
      make_states: Sizes by key -> shape of each state in the order of the blobs, without a stream
        axis.
      step: Sizes by key -> feature frames that a step reads, and that it advances.
    """

    number: int
    name: str
    keys: tuple[str, ...]
    has_frame_count: bool
    make_states: Callable[[Sizes], list[Shape]]
    step: Callable[[Sizes], tuple[int, int]]

    def missing(self, table: MetadataTable) -> list[str]:
        """Keys for which a table has no whole number; sherpa-ncnn would take them for 0."""
        return [key for key in self.keys if not isinstance(table.get(key), int)]

    def impossible(self, table: MetadataTable) -> list[str]:
        """Keys for which a complete table has a number that is no size of a network."""
        return [key for key, size in self._sizes(table).items() if size not in _SIZES]

    def states(self, table: MetadataTable) -> list[Shape]:
        """Shapes of the states that sherpa-ncnn makes, for a complete table."""
        return self.make_states(self._sizes(table))

    def disagreements(
        self, table: MetadataTable, geometry: StreamingGeometry, states: Mapping[str, Shape]
    ) -> Iterator[str]:
        """What sherpa-ncnn would do with a complete table that an encoder does not expect.

        Args:
          table: The encoder's metadata.
          geometry: How the encoder walks over feature frames.
          states: Shapes of its states by name, in the order of the blobs, without a stream axis.
        """
        segment, shift = self.step(self._sizes(table))
        dynamic = geometry.dynamic and shift % geometry.subsampling_factor == 0
        if segment - shift != geometry.overlap or not (dynamic or shift == geometry.shift):
            yield (
                f"it steps {shift} of {segment} feature frames, the encoder {geometry.shift} of "
                f"{geometry.segment}"
            )
        fed = self.states(table)
        if len(fed) != len(states):
            yield f"it feeds {len(fed)} states, the encoder has {len(states)}"
            return
        for theirs, (name, ours) in zip(fed, states.items(), strict=True):
            if theirs != ours:
                yield f"it feeds {theirs} for the state {name!r}, which is {ours}"

    def _sizes(self, table: MetadataTable) -> dict[str, int]:
        return {key: int(table[key]) for key in self.keys}


def architecture_of(table: MetadataTable | None) -> Architecture | None:
    """The architecture that a table names, None if sherpa-ncnn has none such."""
    number = (table or {}).get(ARCH)
    return _BY_NUMBER.get(number) if isinstance(number, int) else None


def has_frame_count(table: MetadataTable | None) -> bool:
    """Whether an encoder with this metadata takes the number of feature frames as in1.

    It does unless sherpa-ncnn knows its architecture and feeds none.
    """
    architecture = architecture_of(table)
    return architecture is None or architecture.has_frame_count


def first_state(table: MetadataTable | None) -> int:
    """The number of the first state's blob, the same among inputs and outputs."""
    return 2 if has_frame_count(table) else 1


def encoder_outputs(table: MetadataTable | None, states: int) -> tuple[str, ...]:
    """The blobs that are read: out0 and the next states; nobody reads an output frame count."""
    first = first_state(table)
    return ("out0", *(f"out{number}" for number in range(first, first + states)))


def _lstm_states(sizes: Sizes) -> list[Shape]:
    layers = sizes["num_encoder_layers"]
    return [(layers, sizes["encoder_dim"]), (layers, sizes["rnn_hidden_size"])]


def _conv_emformer_states(sizes: Sizes) -> list[Shape]:
    dim, left = sizes["encoder_dim"], sizes["left_context_length"]
    layer: list[Shape] = [
        (sizes["memory_size"], dim),
        (left, dim),
        (left, dim),
        (dim, sizes["cnn_module_kernel"] - 1),
    ]
    return layer * sizes["num_encoder_layers"]


def _conv_emformer_step(sizes: Sizes) -> tuple[int, int]:
    chunk = sizes["chunk_length"]
    return chunk + sizes["right_context_length"] + 11, chunk


LSTM = Architecture(
    number=3,
    name="LSTM",
    keys=("num_encoder_layers", "encoder_dim", "rnn_hidden_size"),
    has_frame_count=True,
    make_states=_lstm_states,
    step=lambda sizes: (9, 4),
)

_CONV_EMFORMER = Architecture(
    number=1,
    name="ConvEmformer",
    keys=(
        "num_encoder_layers",
        "memory_size",
        "cnn_module_kernel",
        "left_context_length",
        "chunk_length",
        "right_context_length",
        "encoder_dim",
    ),
    has_frame_count=False,
    make_states=_conv_emformer_states,
    step=_conv_emformer_step,
)

_BY_NUMBER = {one.number: one for one in (LSTM, _CONV_EMFORMER)}
