"""What the references in specs must resolve to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from calve.geometry import StreamingGeometry
from calve.loading import WHOLE, LoaderOptions, Share

if TYPE_CHECKING:
    # `calve.api` exports some of this, and every command imports that.
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from calve.bundle import Bundle
    from calve.quantization import QuantizationReport
    from calve.tokens import SymbolTable

__all__ = [
    "Batch",
    "BatchLoader",
    "ClientResult",
    "ClientTranscribe",
    "ExportStep",
    "ExportWorkspace",
    "Finding",
    "FsaBackend",
    "FsaWalk",
    "Hypothesis",
    "LatticeColumns",
    "LiveSession",
    "LossBackend",
    "MetadataStore",
    "ModelFamily",
    "OfflineSession",
    "OpenLoader",
    "Progress",
    "QuantizationWorkspace",
    "Quantizer",
    "Runtime",
    "Search",
    "Session",
    "States",
    "StreamingEncoder",
    "StreamingSession",
    "TrainingRun",
]

Float32Array: TypeAlias = "NDArray[np.float32]"
States: TypeAlias = "Mapping[str, NDArray[np.float32]]"
"""Named encoder states of one runtime, in the runtime's own layout; opaque to everyone else."""


class StreamingEncoder(Protocol):
    """A torch encoder that works on whole utterances and, if its options allow, step by step.

    One that sees more in whole utterances than step by step also has ``stream_at_once(x, x_lens)``:
    a call like that on whole utterances, of a whole number of steps, which masks the difference.
    One that steps faster in another arrangement has ``runtime_form()``: an encoder like this one,
    with states of its own, for whole segments; the torch runtime calls it on a plain encoder.

    N is the batch size, T the number of feature frames, C the feature dimension, T' the number
    of output frames, D the output dimension.
    """

    geometry: StreamingGeometry
    feature_dim: int
    output_dim: int
    state_batch_axis: Mapping[str, int] | int
    """The axis that counts streams: by state, or the same for all."""

    def __call__(self, x: torch.Tensor, x_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole utterances: x (N, T, C) float32, x_lens (N,) int64 -> y (N, T', D), y_lens (N,)."""

    def init_states(self, batch_size: int) -> dict[str, torch.Tensor]:
        """Zero states for ``batch_size`` streams; their order is that of the exported inputs.

        Raises:
          ConfigError: if the encoder, with the options that it has, cannot stream.
        """

    def stream(
        self, x: torch.Tensor, x_lens: torch.Tensor, states: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """One step over a segment; returns y (N, T', D), y_lens (N,) and the next states.

        ``x_lens`` is (N,) int64 or float32, since some formats count in floats; ``y_lens`` has the
        same dtype. Next states are new tensors with the names, order and shapes of the old ones.
        """


class ModelFamily(Protocol):
    """What surrounds an encoder: prediction network, joiner, training, exportable parts."""

    config: type
    """Dataclass of the family's options (vocab_size, context_size, decoder_dim, ...)."""

    training_config: type
    """Dataclass of the training options (num_epochs, initial_lr, ...)."""

    tiny: Mapping[str, Any]
    """Options of a very small model, for tests and the capability matrix."""

    def build(self, encoder: Any, config: Any) -> torch.nn.Module:
        """A model with ``.encoder``, ``.decoder`` and ``.joiner`` in icefall's layout."""

    def infer_config(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """The family's options that a checkpoint's shapes determine."""

    def to_plain(self, model: torch.nn.Module) -> torch.nn.Module:
        """A copy in which training-only parametrisations are folded into plain layers."""

    def train(self, run: TrainingRun) -> None:
        """Train until ``num_epochs``, or resume; checkpoints appear in ``run.exp_dir``."""


@runtime_checkable
class Session(Protocol):
    """A loaded model as a search sees it, whatever runs it. Arrays are float32, contiguous.

    What the encoder does is in `StreamingSession` and `OfflineSession`. N is the number of streams
    or utterances, always the first axis; a runtime that has no batch dimension loops over them. D
    and D' are the runtime's own: what the encoder and `decode_context` return is what `join` takes.
    """

    geometry: StreamingGeometry
    feature_dim: int
    blank_id: int
    initial_symbol: int
    """What the decoder sees before the first symbol, next to one blank: the blank, or -1."""
    context_size: int
    vocab_size: int

    def decode_context(self, contexts: NDArray[np.int64]) -> Float32Array:
        """contexts (N, context_size), -1 = no symbol -> decoder_out (N, D')."""

    def join(self, encoder_out: Float32Array, decoder_out: Float32Array) -> Float32Array:
        """encoder_out (N, D), decoder_out (N, D') -> logits (N, vocab_size)."""


@runtime_checkable
class StreamingSession(Session, Protocol):
    """A session whose encoder goes step by step."""

    def init_states(self, batch_size: int = 1) -> States:
        """Zero states for ``batch_size`` streams.

        Raises:
          ConfigError: if the encoder of a live model cannot stream.
        """

    def select_states(self, states: States, rows: Sequence[int]) -> States:
        """The states of the streams in ``rows``, in that order."""

    def join_states(self, parts: Sequence[States]) -> States:
        """The states of several groups of streams, one group after another, as one batch."""

    def encode_chunk(self, features: Float32Array, states: States) -> tuple[Float32Array, States]:
        """features (N, T, C), T = ``geometry.segment`` -> encoder_out (N, T', D), next states."""


@runtime_checkable
class OfflineSession(Session, Protocol):
    """A session whose encoder sees whole utterances at once."""

    offline_initial_symbol: int
    """`initial_symbol` of icefall's searches on whole utterances: the blank, or -1."""

    def encode(
        self, features: Float32Array, lengths: NDArray[np.int64]
    ) -> tuple[Float32Array, NDArray[np.int64]]:
        """features (N, T, C), lengths (N,) frames -> encoder_out (N, T', D), lengths (N,)."""

    def encode_in_chunks(
        self, features: Float32Array, lengths: NDArray[np.int64]
    ) -> tuple[Float32Array, NDArray[np.int64]]:
        """As `encode`, but what `StreamingSession.encode_chunk` gives step by step.

        Args:
          features: (N, T, C).
          lengths: (N,) frames, whole steps of ``geometry``.

        Raises:
          ConfigError: if the encoder cannot stream, or cannot do so at once.
        """


class LiveSession(StreamingSession, OfflineSession, Protocol):
    """A session on a live model, as the torch runtime opens it."""


class Runtime(Protocol):
    """A driver in the namespace ``calve.runtimes``."""

    @staticmethod
    def open(bundle: Any, *, num_threads: int = 1) -> Session:
        """Load a `calve.bundle.Bundle` (the torch driver takes a live model instead).

        Returns:
          A `StreamingSession`, or an `OfflineSession` if the manifest says that the bundle does not
          stream.
        """


@dataclass
class Hypothesis:
    """What a search found so far.

    Attributes:
      tokens: Symbol ids, blank excluded.
      timestamps: Encoder frame of each token, counted from the start of the stream.
      score: Sum of the chosen symbols' log probabilities, blanks included.
      words: The words, if the method follows a graph that knows any.
      word_timestamps: Encoder frame at which the graph says each word.
    """

    tokens: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    score: float = 0.0
    words: list[str] = field(default_factory=list)
    word_timestamps: list[int] = field(default_factory=list)


class Search(Protocol):
    """A decoding method bound to a session and its options, for any number of streams at once.

    What it knows of one stream is in the state that `start` makes, which is opaque to everyone
    else. So streams may come and go between two calls of `advance`.
    """

    def start(self, **options: Any) -> Any:
        """The state of a new stream; ``options`` are those that a method has for each stream."""

    def advance(self, streams: Sequence[Any], encoder_out: Sequence[Float32Array]) -> None:
        """Consume the next encoder frames of each stream, batched over the streams.

        Args:
          streams: States that `start` made, each at most once; they are changed.
          encoder_out: One array (T', D) for each stream; T' may differ, and be 0.

        Raises:
          DataError: if the networks answer with NaN.
        """

    def result(self, stream: Any) -> Hypothesis:
        """The best hypothesis for all frames that the stream consumed so far."""


@dataclass(frozen=True)
class Batch:
    """Utterances that are trained on together.

    Attributes:
      features: (N, T, C) float32, padded at the end with log(1e-10).
      feature_lens: (N,) int64, frames of each utterance.
      tokens: Symbol ids of each utterance, without blank, start or end.
      cut_ids: Name of each utterance, for messages.
    """

    features: torch.Tensor
    feature_lens: torch.Tensor
    tokens: list[list[int]]
    cut_ids: list[str]


class BatchLoader(Protocol):
    """Batches by epoch. Batch k of epoch n follows from the options, n, k and the share alone.

    A loader may have another method, ``largest_batches() -> Iterator[Batch]``: those of the epoch
    that need most memory. Training on a GPU tries them first, so that it fails soon or not at all.
    """

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the current epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Go to the first batch of an epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Where we are, in plain numbers; batches read ahead do not count as consumed."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go where the state says; the next batch is the one that would have followed."""


class OpenLoader(Protocol):
    """Opens one split of a prepared corpus; ``training`` shuffles and augments."""

    def __call__(
        self,
        data_dir: Path,
        split: str,
        options: LoaderOptions,
        *,
        training: bool,
        share: Share = WHOLE,
    ) -> BatchLoader: ...


class LossBackend(Protocol):
    """A driver in the namespace ``calve.loss_backends``: k2's functions, names and arguments.

    B is the batch size, S the most symbols and T the most frames of an utterance, V the vocabulary
    size, r the width of the pruned range. ``boundary`` (B, 4) holds ``[0, 0, S_b, T_b]``; losses
    are negative natural logarithms, +inf for an utterance that cannot be aligned.
    """

    def rnnt_loss_smoothed(
        self,
        lm: torch.Tensor,
        am: torch.Tensor,
        symbols: torch.Tensor,
        termination_symbol: int,
        **options: Any,
    ) -> Any:
        """Of lm (B, S + 1, V) and am (B, T, V): the loss, and what ranges are pruned by."""

    def get_rnnt_prune_ranges(
        self,
        px_grad: torch.Tensor,
        py_grad: torch.Tensor,
        boundary: torch.Tensor,
        s_range: int,
    ) -> torch.Tensor:
        """The symbol positions that each frame keeps, (B, T, r)."""

    def do_rnnt_pruning(
        self, am: torch.Tensor, lm: torch.Tensor, ranges: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """am (B, T, C) and lm (B, S + 1, C) at the kept positions, both (B, T, r, C)."""

    def rnnt_loss_pruned(
        self,
        logits: torch.Tensor,
        symbols: torch.Tensor,
        ranges: torch.Tensor,
        termination_symbol: int,
        **options: Any,
    ) -> torch.Tensor:
        """The loss of logits (B, T, r, V) on the kept positions."""


LatticeColumns: TypeAlias = (
    "tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], int]"
)
"""source, destination, graph_arc, score and num_states; see `FsaBackend.lattice`."""


class FsaBackend(Protocol):
    """A driver in the namespace ``calve.fsa_backends``: it walks through a decoding graph.

    The graph has G states and A arcs, those of one state next to one another. State 0 is the start,
    the last state the only final one. At every frame a stream is in a few *states*, pairs of a
    context (its latest symbols) and a state of the graph. From each, unless it is final, a blank
    leads back to it and the graph's arcs lead on. What survives a frame is what survives in k2's
    ``RnntDecodingStreams``:

    1. an arc with a label above 0, if the score that it reaches is within ``beam`` of the best
       score before the frame; one into the final state too, not counting the blank, whose log
       probability it also costs; blanks, and arcs with label 0, always;
    2. of the states that these reach, each as good as the best way to it, those within ``beam`` of
       the best, at most ``max_states``;
    3. of these, those in the best contexts, at most ``max_contexts``; a context is as good as its
       best state.

    A backend that works in another process may have an attribute ``seconds``, the CPU time that it
    has taken there, which ``calve bench-search --against`` reads.

    Args:
      arc_splits: (G + 1,) int32; the arcs of state s are ``arc_splits[s] : arc_splits[s + 1]``.
      destination: (A,) int32, states that the arcs lead to.
      label: (A,) int32, symbols; -1 for arcs into the final state, 0 for arcs without a symbol.
      score: (A,) float32, log probabilities.
      vocab_size: Symbols that the networks score; 0 is the blank.
      context_size: Symbols in a context.
      beam: How far below the best a log probability may be.
      max_contexts: Most contexts of one stream.
      max_states: Most states of one stream.
    """

    def __init__(
        self,
        arc_splits: NDArray[np.int32],
        destination: NDArray[np.int32],
        label: NDArray[np.int32],
        score: NDArray[np.float32],
        *,
        vocab_size: int,
        context_size: int,
        beam: float,
        max_contexts: int,
        max_states: int,
    ) -> None: ...

    def start(self) -> Any:
        """A new stream, opaque to everyone else: in the graph's start, its context all blanks."""

    def walk(self, streams: Sequence[Any]) -> FsaWalk:
        """Take streams, each at most once, some frames on together.

        They change when the walk is finished. One that is never finished leaves them as they were,
        or unusable.
        """

    def lattice(self, stream: Any, *, allow_partial: bool) -> LatticeColumns:
        """All paths through the frames so far that survived: an acyclic graph.

        Every path takes one arc for each frame. Arcs of the last frame are those that entered the
        graph's final state in it; if there are none, and ``allow_partial``, all that survived. They
        lead into the lattice's final state and score 0. A path may also end before the last frame.

        Returns:
          source: (L,) int32, the states that the arcs leave, in ascending order; 0 is the start.
          destination: (L,) int32, the states that they enter, of higher numbers.
          graph_arc: (L,) int32, the arcs of the decoding graph; -1 for the blank's.
          score: (L,) float32, log probabilities, those of the graph's arcs included.
          num_states: States, the last one final; 0 if the stream has no frame yet.
        """


class FsaWalk(Protocol):
    """Some streams on their way through a graph, frame by frame: `contexts`, then `advance`."""

    def contexts(self, active: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What the networks must score for the next frame.

        Args:
          active: (N,), indices of the streams that have a next frame, ascending. One that is
            missing does not come back.

        Returns:
          owners: (R,), the stream of each context; ascending.
          contexts: (R, context_size), each once for a stream.
        """

    def advance(self, log_probs: Float32Array) -> None:
        """Take the active streams one frame on, with the log probabilities (R, vocab_size)."""

    def finish(self) -> None:
        """Let the streams know where they are; the walk is over."""


@dataclass
class TrainingRun:
    """What `ModelFamily.train` works on.

    Attributes:
      model: A freshly built model.
      recipe: The recipe's name.
      configuration: The resolved options by table: "encoder", "model", "training", "loading"
        (dataclasses).
      train: Batches to learn from.
      valid: Batches to validate on.
      exp_dir: Where checkpoints, logs and the configuration go.
      progress: Draws the bar.
      on_metrics: Called with (step, metrics) whenever metrics are logged.
    """

    model: torch.nn.Module
    recipe: str
    configuration: dict[str, Any]
    train: BatchLoader
    valid: BatchLoader
    exp_dir: Path
    progress: Progress
    on_metrics: Callable[[int, dict[str, float]], None]


class Progress(Protocol):
    """How long work says how far it is; calve's implementation draws a bar on stderr."""

    def start(self, title: str, total: int | None = None) -> None: ...

    def advance(self, amount: int = 1, note: str = "") -> None: ...

    def finish(self) -> None: ...

    def abandon(self) -> None:
        """The work ends before its end; nothing happens if none is under way."""


@dataclass
class ExportWorkspace:
    """What export steps share: inputs, a private folder, and what they report.

    Attributes:
      model: The plain (converted) torch model in eval mode.
      trained: The model as it was trained, with a checkpoint's names and shapes.
      encoder_name: The registered encoder's name.
      config: The resolved configuration, by table ("encoder", "model").
      geometry: The encoder's streaming geometry.
      streaming: Whether the bundle is to stream, or to see whole utterances.
      symbols: The symbol table.
      metadata: Key/value table that the metadata writer made for (encoder, format).
      state_names: What the format's real runtime calls the encoder's states, in their order;
        empty for their own names.
      options: The format's options dataclass instance.
      folder: Temporary folder that becomes the bundle; steps write their final files here.
      scratch: Temporary folder for intermediate files, deleted afterwards.
      device_form: Makes of a plain encoder what graph formats compile.
      report: Results by name of the step; ends up in ``bundle.json``. Some step must set
        "precision", the precision of the weights ("fp32", "fp16" or "int8") by network; "tools" may
        hold versions of the packages that were used.
    """

    model: Any
    trained: Any
    encoder_name: str
    config: dict[str, dict[str, Any]]
    geometry: StreamingGeometry
    streaming: bool
    symbols: SymbolTable
    metadata: dict[str, int | str]
    state_names: tuple[str, ...]
    options: Any
    folder: Path
    scratch: Path
    device_form: Callable[[Any], Any]
    report: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def device_encoder(self) -> Any:
        """A `StreamingEncoder` for whole segments, with states as the format's runtime has them.

        Formats that write a graph compile it instead of ``model.encoder``.

        Raises:
          ConfigError: if the encoder cannot stream.
        """
        return self.device_form(self.model.encoder)


class ExportStep(Protocol):
    """One step of an exporter; raises `ExportError` if it cannot do its work."""

    def __call__(self, workspace: ExportWorkspace) -> None: ...


@dataclass
class QuantizationWorkspace:
    """What a quantiser works on.

    Attributes:
      bundle: The bundle to quantise; its files are what they were when it was made.
      options: The scheme's options dataclass instance.
      folder: Temporary folder that becomes the quantised bundle; the symbol table is there.
      scratch: Temporary folder for intermediate files, deleted afterwards.
      progress: Draws the bar.
    """

    bundle: Bundle
    options: Any
    folder: Path
    scratch: Path
    progress: Progress


class Quantizer(Protocol):
    """Writes quantised networks; the caller adds the manifest and golden numbers."""

    def __call__(self, workspace: QuantizationWorkspace) -> QuantizationReport: ...


@dataclass(frozen=True)
class Finding:
    """One thing that lint found.

    Attributes:
      severity: "error" (the runtime will crash or print garbage) or "warning".
      code: Stable short name, for example "layer-count".
      where: File, and line where it has one.
      what: What is wrong.
      fix: What to do.
    """

    severity: str
    code: str
    where: str
    what: str
    fix: str


class MetadataStore(Protocol):
    """Reads and stamps the metadata that a format's real runtime needs.

    It also works on bundles that calve did not make, which have no ``bundle.json``.
    """

    def recognises(self, bundle_dir: Path) -> bool:
        """Whether the directory holds a model of this format."""

    def infer(self, bundle_dir: Path) -> dict[str, int | str] | None:
        """The table that the model's own files call for, None if they do not tell."""

    def read(self, bundle_dir: Path) -> dict[str, int | str] | None:
        """The stamped table, or None."""

    def write(self, bundle_dir: Path, table: Mapping[str, int | str]) -> None:
        """Stamp the table, replacing any other; the file is replaced atomically."""


@dataclass(frozen=True)
class ClientResult:
    """What a real client made of one recording.

    Attributes:
      decode_seconds: Wall time of decoding, model loading excluded.
      load_seconds: Wall time until the client was ready, the same for all results of one call.
    """

    path: str
    text: str
    duration: float
    decode_seconds: float
    load_seconds: float = 0.0


class ClientTranscribe(Protocol):
    """Runs another project's runtime in a child process, so that its crash is our message."""

    def __call__(
        self, bundle_dir: Path, paths: Sequence[Path], *, num_threads: int, tail_seconds: float
    ) -> list[ClientResult]: ...
