"""Specs: the frozen records that hooks return. They name objects without importing them.

A spec consists of strings and `LazyRef`s. Registering ten encoders therefore takes a few
microseconds at start-up. torch is imported only when an encoder is built.
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
      name: The name that users write.
      config: Dataclass of the encoder's options, importable without torch; each field's
        ``metadata["help"]`` is its ``--help`` text. If ``metadata["fixed"]`` is true, the weights
        depend on the value, and an option that contradicts the checkpoint is an error.
      build: ``(config) -> StreamingEncoder``.
      infer_config: ``(shapes: Mapping[str, tuple[int, ...]]) -> dict``: the options that the
        shapes of a checkpoint's ``encoder.*`` entries (prefix removed) determine.
      formats: Export formats that the encoder claims; the capability matrix tests each.
      summary: One-line description for lists.
      tiny: Options of a very small instance that can stream, for tests and the capability matrix;
        the encoder's defaults apply to the others.
      tiny_offline: Changes to ``tiny`` for an instance that cannot stream; empty if every instance
        can stream.
      export_form: ``(plain encoder) -> StreamingEncoder``: the same network for whole segments of
        ``geometry.segment`` frames, made of operators that graph formats have; exporters compile it
        instead of the encoder. None if ``stream`` itself has only such operators and flat states.
      untrained: ``(config, geometry) -> Sequence[str]``, importable without torch: the parts of a
        geometry for which a model with these options was not trained, with the trained range.
        None if training covers every geometry.
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
      recordings: Directory of WAV files with a ``transcripts.txt`` (name, tab, words), for
        ``calve demo``.
      default: Whether ``calve demo`` uses this checkpoint by default.
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
    """A program of another project that opens a format's bundles.

    Attributes:
      module: The client is installed if this module exists.
      extra: The extra of calve that installs the client.
      transcribe: A `calve.protocols.ClientTranscribe`; must run the client in a child process.
    """

    name: str
    module: str
    extra: str
    transcribe: LazyRef

    @property
    def is_installed(self) -> bool:
        """Whether the client is installed; the client is not imported."""
        import importlib.util

        return importlib.util.find_spec(self.module) is not None


@dataclass(frozen=True)
class Conventions:
    """The interface of the three networks that the clients of a format expect.

    Attributes:
      projected: Whether the encoder and the decoder apply the joiner's projections to their
        outputs, so that the joiner only adds; otherwise the joiner applies them.
      initial_symbol: The decoder's input before the first symbol, besides one blank: -1 for no
        symbol, None for another blank.
    """

    projected: bool = False
    initial_symbol: int | None = None


@dataclass(frozen=True)
class ExporterSpec:
    """An export format: how its bundles are made, checked and run.

    Attributes:
      format: The value of ``--format``.
      options: Dataclass of the format's own options, importable without torch.
      steps: Named steps, in order; they work in an `ExportWorkspace`.
      runtime: Name of the driver in ``calve.runtimes`` that runs the bundle.
      lint: ``(bundle_dir: Path, runtime: str | None) -> list[Finding]``; must not run the model.
      metadata: A `calve.protocols.MetadataStore` for the table that the client needs; None if
        there is no table.
      clients: Programs of other projects that open these bundles.
      extra: The extra of calve that installs the requirements of the steps; None if the base
        installation has them.
      conventions: How the networks divide the work; torch does the same for comparison.
      precisions: The options for each precision of the weights ("fp32", "fp16", "int8").
      encoders: Encoders of other packages that the exporter claims, because those packages do not
        know the format; the capability matrix tests them too.
      offline: Whether the format also supports whole utterances; clients do not open such bundles.
      default: Whether this is the default format.
      doctor: ``() -> Iterable[calve.common.diagnosis.Diagnosis]`` for ``calve doctor``: the state
        of the packages that the format needs, determined without importing them.
      inspect: ``(path: Path) -> Mapping[str, Any] | None`` for ``calve inspect``: a description of
        a network file of this format, determined without running code of the file; None for any
        other file. The first key is "kind"; the values are those that JSON has.
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
    doctor: LazyRef | None = None
    inspect: LazyRef | None = None


@dataclass(frozen=True)
class MetadataWriterSpec:
    """Metadata about ``encoder`` for the client of ``format``.

    Attributes:
      table: ``(config, geometry) -> dict[str, int | str]``, a pure function.
      arrange: ``(export form) -> export form`` with the state layout of the client; None to keep
        the layout.
      state_names: The client's names for the states, in order; empty to keep the encoder's names.
      clients: Clients of the format that open bundles of this encoder; None for all.
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
    """A quantizer: one scheme for the bundles of one format.

    Attributes:
      quantize: A `calve.protocols.Quantizer`.
      needs_calibration: Whether recordings are required.
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
    """A decoding method. Some users say "decoder"; here a decoder is the prediction network.

    Attributes:
      search: ``(session, options, *, symbols: SymbolTable | None, initial_symbol: int | None) ->
        calve.protocols.Search``; see `calve.decoding.search.make_search`.
      options: Dataclass of the method's options, importable without torch; raises ValueError for
        invalid values.
      needs: What the caller must supply: any of "graph", "language_model".
      stream_options: Options that `calve.protocols.Search.start` takes for one stream. calve passes
        two of them to every method that lists them: "ref_text", the reference of the stream, and
        "context", the symbols before an endpoint.
      default: Whether this is the default method; exactly one method of an installation is.
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
    """A corpus: the stages that prepare it, and access to its utterances.

    Attributes:
      options: Dataclass of ``calve prepare NAME``'s options. If it has a ``data_dir``, only one
        process at a time prepares there.
      stages: In order; ``--stage`` and ``--stop-stage`` count from 0.
      utterances: ``(data_dir: Path, split: str) -> Iterable[calve.data.utterances.Utterance]``;
        raises `DataError` for an unknown split.
      splits: Names that ``utterances`` accepts; ``calve train`` uses "train" and "valid". Empty if
        preparation determines the splits.
      loader: A `calve.protocols.OpenLoader`.
      loader_options: Dataclass of the loader's options, importable without torch:
        `calve.protocols.loading.LoaderOptions` or a subclass with the corpus' own options and
        defaults. ``calve train`` offers the options of all corpora.
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
    """A command of ``calve``; the command object is imported when it runs."""

    name: str
    command: LazyRef
    short_help: str
