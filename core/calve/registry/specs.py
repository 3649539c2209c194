"""What hooks return: small frozen records that name things without importing them.

A spec is made of strings and `LazyRef`s, so a plugin that registers ten encoders costs a few
microseconds at start-up and imports torch only when one of them is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from calve.common.references import LazyRef, Resource

__all__ = [
    "ClientSpec",
    "CommandSpec",
    "Conventions",
    "DatasetSpec",
    "DecodingMethodSpec",
    "EncoderSpec",
    "ExportStepSpec",
    "ExporterSpec",
    "MetadataWriterSpec",
    "PretrainedSpec",
    "QuantizerSpec",
    "RecipeSpec",
    "StageSpec",
]


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder builder.

    Attributes:
      name: What users write.
      config: Dataclass of the encoder's options, importable without torch; each field's
        ``metadata["help"]`` is its ``--help`` text. A field whose ``metadata["fixed"]`` is true is
        what the weights were trained with: where a checkpoint says it, an option cannot change it.
      build: ``(config) -> StreamingEncoder``.
      infer_config: ``(shapes: Mapping[str, tuple[int, ...]]) -> dict``: the options that the
        shapes of a checkpoint's ``encoder.*`` entries (prefix removed) determine.
      formats: Export formats that the encoder claims, each proved by the capability matrix.
      summary: One line for lists.
      tiny: Options of a very small instance that can stream, for tests and the capability matrix;
        an encoder's defaults are used where it says nothing.
      tiny_offline: What must change in ``tiny`` for an instance that cannot stream; empty if every
        instance can.
      export_form: ``(plain encoder) -> StreamingEncoder``: the same network for whole segments of
        ``geometry.segment`` frames, in operators that graph formats have; they compile it instead
        of the encoder. None if ``stream`` itself is made of such operators and flat states.
      untrained: ``(config, geometry) -> Sequence[str]``: what in a geometry a model of these
        options was not trained for, and the range that it was trained for, importable without
        torch. None if training suits every geometry.
    """

    name: str
    config: LazyRef
    build: LazyRef
    infer_config: LazyRef
    formats: tuple[str, ...]
    summary: str
    tiny: Mapping[str, Any] = field(default_factory=dict, hash=False)
    tiny_offline: Mapping[str, Any] = field(default_factory=dict, hash=False)
    export_form: LazyRef | None = None
    untrained: LazyRef | None = None


@dataclass(frozen=True)
class PretrainedSpec:
    """A checkpoint shipped inside a package; users write ``builtin:NAME``.

    Attributes:
      recordings: Folder of WAVs with a ``transcripts.txt`` (name, tab, words) for ``calve demo``.
      default: Whether ``calve demo`` uses it where the user names none.
    """

    name: str
    checkpoint: Resource
    tokens: Resource
    summary: str
    recordings: Resource | None = None
    default: bool = False


@dataclass(frozen=True)
class RecipeSpec:
    """A recipe: an encoder, the model family around it, and default numbers.

    Attributes:
      encoder: Name of a registered encoder.
      family: A `calve.protocols.ModelFamily` (decoder, joiner, training).
      defaults: TOML with the tables ``[encoder]``, ``[model]`` and ``[training]``.
      pretrained: Checkpoints that come with the package.
      training_only: Modules of icefall's checkpoints that the model does not have, since only
        training needs them, such as "decoder_giga"; their entries are left out at loading.
    """

    name: str
    encoder: str
    family: LazyRef
    defaults: Resource
    summary: str
    pretrained: tuple[PretrainedSpec, ...] = ()
    training_only: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportStepSpec:
    """One named step of an exporter; ``run`` is a `calve.protocols.ExportStep`."""

    name: str
    summary: str
    run: LazyRef


@dataclass(frozen=True)
class ClientSpec:
    """A real runtime of another project that opens a format's bundles.

    Attributes:
      module: Module whose presence says that the client is installed.
      extra: calve's extra that installs it.
      transcribe: A `calve.protocols.ClientTranscribe`; must run the client in a child process.
    """

    name: str
    module: str
    extra: str
    transcribe: LazyRef

    @property
    def is_installed(self) -> bool:
        """Whether the client can be imported; it is not imported to find out."""
        import importlib.util

        return importlib.util.find_spec(self.module) is not None


@dataclass(frozen=True)
class Conventions:
    """What real runtimes of a format expect of the three networks.

    Attributes:
      projected: Whether the encoder and the decoder apply the joiner's projections to what they
        return, so that the joiner only adds; otherwise the joiner applies them.
      initial_symbol: What the decoder sees before the first symbol, next to one blank: -1 for
        nothing at all, None for the blank as well.
    """

    projected: bool = False
    initial_symbol: int | None = None


@dataclass(frozen=True)
class ExporterSpec:
    """An export format: how bundles of it are made, checked and run.

    Attributes:
      format: What users give to ``--format``.
      options: Dataclass of the format's own options, importable without torch.
      steps: Named steps, in order; they work inside an `ExportWorkspace`.
      runtime: Name of the driver in ``calve.runtimes`` that runs the result.
      lint: ``(bundle_dir: Path, runtime: str | None) -> list[Finding]``, model not run.
      metadata: A `calve.protocols.MetadataStore`: reads and stamps the table that the real
        runtime needs; None if it needs none.
      clients: Runtimes of other projects that open these bundles.
      extra: calve's extra that installs what the steps need; None if the base install does.
      conventions: How the networks share the work, which torch then does likewise for comparison.
      precisions: The options that give each precision of the weights ("fp32", "fp16", "int8").
      encoders: Encoders of other packages that the exporter itself claims, since these cannot know
        of it; proved by the capability matrix like those that encoders claim.
      offline: Whether the steps and the runtime make and run bundles for whole utterances as well;
        the clients never see these.
      default: Whether it is used where the user names no format.
    """

    format: str
    summary: str
    options: LazyRef
    steps: tuple[ExportStepSpec, ...]
    runtime: str
    lint: LazyRef
    metadata: LazyRef | None
    clients: tuple[ClientSpec, ...] = ()
    extra: str | None = None
    conventions: Conventions = Conventions()
    precisions: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"fp32": {}}, hash=False
    )
    encoders: tuple[str, ...] = ()
    offline: bool = False
    default: bool = False


@dataclass(frozen=True)
class MetadataWriterSpec:
    """What the runtime of ``format`` must be told about ``encoder``.

    Attributes:
      table: ``(config, geometry) -> dict[str, int | str]``, a pure function.
      arrange: ``(export form) -> StreamingEncoder``: the same with its states as that runtime
        keeps them; None if it can keep them as they are.
      state_names: What that runtime calls the states, in their order; empty if it takes their
        own names.
      clients: Names of the format's clients that open bundles of this encoder; None for all.
    """

    encoder: str
    format: str
    table: LazyRef
    summary: str
    state_names: tuple[str, ...] = ()
    arrange: LazyRef | None = None
    clients: tuple[str, ...] | None = None


@dataclass(frozen=True)
class QuantizerSpec:
    """A quantizer of one scheme for bundles of one format.

    Attributes:
      quantize: A `calve.protocols.Quantizer`.
      needs_calibration: Whether it cannot do without recordings.
      options: Dataclass of the scheme's own options, importable without torch and numpy.
    """

    format: str
    scheme: str
    quantize: LazyRef
    needs_calibration: bool
    summary: str
    options: LazyRef | None = None


@dataclass(frozen=True)
class DecodingMethodSpec:
    """A decoding method (the field also says "decoder").

    Attributes:
      search: ``(session, options, *, symbols: SymbolTable | None, initial_symbol: int | None) ->
        calve.protocols.Search``; see `calve.decoding.search.make_search`.
      options: Dataclass of the method's options, importable without torch; raises ValueError if
        they cannot be right.
      needs: What a caller must supply: any of "graph", "language_model".
      stream_options: Options that `calve.protocols.Search.start` takes. Two have a fixed meaning
        and are given to every method that names them: "ref_text", what was said in the stream, and
        "context", the symbols after which the search goes on at an endpoint.
      default: Whether this is the method where none is named; one method of an installation is.
    """

    name: str
    search: LazyRef
    options: LazyRef
    summary: str
    needs: tuple[str, ...] = ()
    stream_options: tuple[str, ...] = ()
    default: bool = False


@dataclass(frozen=True)
class StageSpec:
    """One stage of data preparation: ``run(options, progress)`` is idempotent."""

    name: str
    summary: str
    run: LazyRef


_COMMON_LOADER_OPTIONS = LazyRef("calve.protocols.loading:LoaderOptions")


@dataclass(frozen=True)
class DatasetSpec:
    """A corpus: how it is prepared, and how its utterances are found afterwards.

    Attributes:
      options: Dataclass of ``calve prepare NAME``'s options. If it has a ``data_dir``, one process
        at a time prepares there.
      stages: In order; ``--stage`` and ``--stop-stage`` count from 0.
      utterances: ``(data_dir: Path, split: str) -> Iterable[calve.data.utterances.Utterance]``;
        raises `DataError` for an unknown split.
      splits: Names that ``utterances`` takes; ``calve train`` uses "train" and "valid". Empty if
        preparation decides.
      loader: A `calve.protocols.OpenLoader`.
      loader_options: Dataclass of what the loader can be told, importable without torch:
        `calve.protocols.loading.LoaderOptions` or a subclass with options and defaults of the
        corpus' own. ``calve train`` offers the options of all corpora.
      tokens: The symbol table that preparation writes, relative to ``data_dir``.
    """

    name: str
    options: LazyRef
    stages: tuple[StageSpec, ...]
    utterances: LazyRef
    splits: tuple[str, ...]
    summary: str
    loader: LazyRef | None = None
    loader_options: LazyRef = _COMMON_LOADER_OPTIONS
    tokens: str = "lang/tokens.txt"


@dataclass(frozen=True)
class CommandSpec:
    """A command for the ``calve`` group; the command object is imported when it is run."""

    name: str
    command: LazyRef
    short_help: str
