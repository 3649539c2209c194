"""Lint for ncnn bundles: finds what would crash ncnn or sherpa-ncnn or be misread silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calve.api import BundleError, ConfigError, TokensError
from calve.bundles.bundle import TOKENS_FILE
from calve.bundles.metadata import MetadataTable
from calve.common.printable import shortened
from calve.data.tokens import SymbolTable
from calve.protocols import Finding
from calve_ncnn.architectures import architecture_of, first_state
from calve_ncnn.layout import NETWORKS, bin_path, param_path
from calve_ncnn.metadata import (
    LAYER_NAME,
    LAYER_TYPE,
    infer_table,
    read_own_table,
    read_table,
)
from calve_ncnn.operators import RUNTIMES, unsupported
from calve_ncnn.param import Layer, ParamError, ParamFile, count_blobs
from calve_ncnn.weights import read_tensors, read_weights

__all__ = ["lint"]

_SHERPA = "sherpa-ncnn"
_CONTEXT_SIZE = 2
_DROPPED_ID = 2
_LISTED = 20
_EXPORT_AGAIN = "export the bundle again"


def lint(bundle_dir: Path, runtime: str | None = None) -> list[Finding]:
    """Look at an ncnn bundle's files.

    Args:
      bundle_dir: The directory; ``bundle.json`` is not needed.
      runtime: "ncnn" or "sherpa-ncnn", to look only for what matters to it; None for all that
        can run the encoder's architecture.

    Raises:
      ConfigError: if there is no such runtime.
    """
    if runtime is not None and runtime not in RUNTIMES:
        raise ConfigError(
            f"ncnn bundles have no runtime {runtime!r}", fix=f"give one of {', '.join(RUNTIMES)}"
        )
    params: dict[str, ParamFile] = {}
    findings: list[Finding] = []
    for network in NETWORKS:
        try:
            params[network] = ParamFile.read(param_path(bundle_dir, network))
        except ParamError as error:
            findings.append(_error(error.code, error.where or "", error.what, error.fix or ""))
        except BundleError as error:
            findings.append(_error("file-missing", error.where or "", error.what, _EXPORT_AGAIN))
    runtimes = tuple(RUNTIMES) if runtime is None else (runtime,)
    foreign = _foreign_to_sherpa(params, asked=runtime == _SHERPA)
    if foreign is not None and _SHERPA in runtimes:
        findings.append(foreign)
        runtimes = tuple(one for one in runtimes if one != _SHERPA)
    for network, param in params.items():
        weights = bin_path(bundle_dir, network)
        checked = _CheckedNetwork(network, param, weights, runtimes)
        findings += checked.findings()
    if len(params) == len(NETWORKS):
        findings += _interfaces(params)
        findings += _symbols(bundle_dir / TOKENS_FILE, params, sherpa=_SHERPA in runtimes)
    if "encoder" in params and _SHERPA in runtimes:
        findings += _metadata(params["encoder"])
    return findings


@dataclass(frozen=True)
class _CheckedNetwork:
    """What can be wrong with one network by itself."""

    name: str
    param: ParamFile
    weights: Path
    runtimes: tuple[str, ...]

    def findings(self) -> Iterator[Finding]:
        yield from self._counts()
        yield from self._graph()
        yield from self._operators()
        yield from self._weights()

    def _counts(self) -> Iterator[Finding]:
        where = f"{self.param.path}:2"
        layers, blobs = len(self.param.layers), count_blobs(self.param.layers)
        if self.param.declared_layers != layers:
            what = f"the header says {self.param.declared_layers} layers, the file has {layers}"
            yield _error("layer-count", where, what, f"write '{layers} {blobs}' in line 2")
        if self.param.declared_blobs != blobs:
            what = f"the header says {self.param.declared_blobs} blobs, the file has {blobs}"
            yield _error("blob-count", where, what, f"write '{layers} {blobs}' in line 2")

    def _graph(self) -> Iterator[Finding]:
        written: set[str] = set()
        reads: Counter[str] = Counter()
        for layer in self.param.layers:
            where = f"{self.param.path}:{layer.line}"
            for blob in layer.inputs:
                if blob not in written:
                    what = f"{layer.name} reads blob {blob}, which no layer before it writes"
                    yield _error("blob-unknown", where, what, _EXPORT_AGAIN)
            for blob in layer.outputs:
                if blob in written:
                    what = f"{layer.name} writes blob {blob} a second time"
                    yield _error("blob-twice", where, what, _EXPORT_AGAIN)
            reads.update(layer.inputs)
            written.update(layer.outputs)
        for blob, count in reads.items():
            if count > 1:
                what = f"blob {blob} is read {count} times; ncnn needs a Split layer there"
                yield _error("blob-shared", self.param.path, what, _EXPORT_AGAIN)

    def _operators(self) -> Iterator[Finding]:
        for runtime in self.runtimes:
            for layer in unsupported(self.param.layers, runtime):
                where = f"{self.param.path}:{layer.line}"
                what = f"{runtime} has no operator {layer.type} (layer {layer.name})"
                fix = "write the network without it, or use another runtime"
                yield _error("operator", where, what, fix)

    def _weights(self) -> Iterator[Finding]:
        try:
            read_tensors(self.param, read_weights(self.weights), self.weights)
        except BundleError as error:
            code = "bin-size" if self.weights.is_file() else "file-missing"
            where = error.where or str(self.weights)
            yield _error(code, where, error.what, error.fix or _EXPORT_AGAIN)


def _interfaces(params: dict[str, ParamFile]) -> Iterator[Finding]:
    """Blob names; sherpa-ncnn takes the first blob, silently, for a name that it does not find."""
    encoder = params["encoder"]
    first = first_state(read_table(encoder))
    taken = max(first, len(encoder.input_names))
    expected = {"encoder": (taken, taken), "decoder": (1, 1), "joiner": (2, 1)}
    for network, (inputs, outputs) in expected.items():
        param = params[network]
        for kind, have, count in (
            ("in", param.input_names, inputs),
            ("out", param.output_names, outputs),
        ):
            want = [f"{kind}{index}" for index in range(count)]
            missing = [name for name in want if name not in have]
            if missing:
                what = f"the {network} has no blob {', '.join(missing)}; it has {_listed(have)}"
                yield _error("blob-names", param.path, what, f"name the blobs {', '.join(want)}")
    if f"in{first}" not in encoder.input_names:
        what = "the encoder takes no states, so it cannot be run chunk by chunk"
        yield _error("blob-names", encoder.path, what, "export a streaming encoder")


def _foreign_to_sherpa(params: Mapping[str, ParamFile], *, asked: bool) -> Finding | None:
    """That sherpa-ncnn does not know the architecture; an error only to those who ask for it."""
    own = read_own_table(params["encoder"]) if "encoder" in params else None
    if own is None:
        return None
    return Finding(
        "error" if asked else "warning",
        "architecture",
        params["encoder"].path,
        f"sherpa-ncnn does not know the architecture {own.get('arch')} and cannot load it",
        "run it with calve, or with a program of your own on ncnn; or export it to onnx",
    )


def _metadata(encoder: ParamFile) -> Iterator[Finding]:
    write = "run `calve metadata write` on the bundle"
    layers = encoder.of_type(LAYER_TYPE)
    if not layers:
        what = "SherpaMetaData is missing: sherpa-ncnn crashes without it"
        yield _error("metadata-missing", encoder.path, what, write)
        return
    where = f"{encoder.path}:{layers[0].line}"
    if len(layers) > 1:
        what = f"SherpaMetaData is there {len(layers)} times"
        yield _error("metadata-twice", where, what, write)
    if layers[0].name != LAYER_NAME or layers[0].inputs or layers[0].outputs:
        what = f"the metadata layer must be '{LAYER_TYPE} {LAYER_NAME} 0 0 ...'"
        yield _error("metadata-layer", where, what, write)
    stamped, inferred = read_table(encoder) or {}, infer_table(encoder) or {}
    for key, value in inferred.items():
        if stamped.get(key) != value:
            said = shortened(stamped.get(key))
            what = f"SherpaMetaData says {key}={said}, the layers have {value}"
            yield _error("metadata-mismatch", where, what, write)
    for what in _disagreement(encoder, stamped):
        yield _error("metadata-mismatch", where, what, write)


def _disagreement(encoder: ParamFile, stamped: MetadataTable) -> Iterator[str]:
    """How many blobs sherpa-ncnn would feed by the metadata, where the encoder takes others."""
    architecture = architecture_of(stamped)
    if architecture is None:
        return
    if missing := architecture.missing(stamped):
        yield f"SherpaMetaData of a {architecture.name} lacks {', '.join(missing)}"
        return
    if impossible := architecture.impossible(stamped):
        yield f"SherpaMetaData of a {architecture.name} has impossible {', '.join(impossible)}"
        return
    fed = first_state(stamped) + len(architecture.states(stamped))
    if fed != len(encoder.input_names):
        yield (
            f"by SherpaMetaData sherpa-ncnn feeds a {architecture.name} {fed} blobs, the encoder "
            f"takes {len(encoder.input_names)}"
        )


def _symbols(path: Path, params: dict[str, ParamFile], *, sherpa: bool) -> Iterator[Finding]:
    decoder, joiner = params["decoder"], params["joiner"]
    embeddings = {_size(layer, 1) for layer in decoder.of_type("Embed")}
    scores = {
        _size(layer, 8 if layer.type == "Gemm" else 0)
        for layer in joiner.of_type("InnerProduct", "Gemm")
        if set(layer.outputs) & set(joiner.output_names)
    }
    if len(scores) == 1 and len(embeddings) == 1 and scores != embeddings:
        what = f"the decoder knows {embeddings.pop()} symbols, the joiner scores {max(scores)}"
        yield _error("vocabulary", decoder.path, what, "use networks of one model")
    try:
        symbols = SymbolTable.read(path)
        if len(scores) == 1:
            symbols = symbols.for_vocabulary(scores.pop())
    except TokensError as error:
        fix = error.fix or "give the tokens.txt that the model was trained with"
        yield _error("tokens", error.where or str(path), error.what, fix)
    else:
        if sherpa and len(symbols) > _DROPPED_ID and symbols.unk_id != _DROPPED_ID:
            what = (
                f"symbol {_DROPPED_ID} is {shortened(symbols[_DROPPED_ID])}: sherpa-ncnn takes id "
                f"{_DROPPED_ID} for <unk> and never writes it"
            )
            yield _error("unk-id", str(path), what, "train with <unk> as symbol 2")
    context_size = _context_size(decoder)
    if sherpa and context_size != _CONTEXT_SIZE:
        what = f"the decoder sees {context_size} symbols; sherpa-ncnn always feeds {_CONTEXT_SIZE}"
        yield _error("context-size", decoder.path, what, "train with --context-size 2")


def _context_size(decoder: ParamFile) -> int:
    """How many symbols the decoder's convolution spans."""
    convolutions = decoder.of_type("Convolution1D", "ConvolutionDepthWise1D")
    return 1 + sum((_size(layer, 1) - 1) * max(1, _size(layer, 2)) for layer in convolutions)


def _listed(names: Sequence[str]) -> str:
    """The names, or the first of very many."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _size(layer: Layer, identifier: int) -> int:
    value = layer.get(identifier, 0)
    return value if isinstance(value, int) else 0


def _error(code: str, where: str, what: str, fix: str) -> Finding:
    return Finding("error", code, where, what, fix)
