"""Lint for ONNX bundles: finds what ONNX Runtime or sherpa-onnx would reject or misread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from calve.api import BundleError, ConfigError, TokensError
from calve.bundles.bundle import TOKENS_FILE
from calve.data.tokens import SymbolTable
from calve.protocols import Finding
from calve_onnx.layout import NETWORKS, find_network
from calve_onnx.network import OnnxNetwork, OnnxPort

__all__ = ["lint"]

_SHERPA = "sherpa-onnx"
_RUNTIMES = ("onnx", _SHERPA)
_EXPORT_AGAIN = "export the bundle again"
_STAMP_AGAIN = "run `calve metadata write` on the bundle, or export it again"

_STREAMING_KEYS = ("T", "decode_chunk_len", "num_encoder_layers")
_MODEL_TYPES: dict[str, tuple[str, ...]] = {
    "lstm": (*_STREAMING_KEYS, "d_model", "rnn_hidden_size"),
    "conformer": (
        *_STREAMING_KEYS,
        "encoder_dim",
        "cnn_module_kernel",
        "left_context",
        "right_context",
        "pad_length",
    ),
}
"""What sherpa-onnx reads from an encoder, by the model type that it reads first."""

_KEYS = {"decoder": ("context_size", "vocab_size"), "joiner": ("joiner_dim",)}

_INTERFACES = {"decoder": (1, 1), "joiner": (2, 1)}
"""How many inputs and outputs a network has; an encoder has one more than states, of each."""


def lint(bundle_dir: Path, runtime: str | None = None) -> list[Finding]:
    """Look at an ONNX bundle's files.

    Args:
      bundle_dir: The directory; ``bundle.json`` is not needed.
      runtime: "onnx" or "sherpa-onnx", to look only for what matters to it; None for all that can
        run the encoder: one that names no ``model_type`` is none of sherpa-onnx's.

    Raises:
      ConfigError: if there is no such runtime.
      PluginError: if ONNX Runtime, which reads the files, is not installed.
    """
    if runtime is not None and runtime not in _RUNTIMES:
        raise ConfigError(
            f"ONNX bundles have no runtime {runtime!r}", fix=f"give one of {', '.join(_RUNTIMES)}"
        )
    networks: dict[str, OnnxNetwork] = {}
    findings: list[Finding] = []
    for name in NETWORKS:
        try:
            networks[name] = OnnxNetwork(find_network(bundle_dir, name))
        except BundleError as error:
            findings.append(_error("file", error.where or "", error.what, error.fix))
    for name, network in networks.items():
        findings += _interface(name, network)
    if findings:
        return findings
    findings += _sizes(networks, bundle_dir / TOKENS_FILE)
    if runtime in (None, _SHERPA):
        findings += _metadata(networks, asked=runtime == _SHERPA)
    return findings


def _interface(name: str, network: OnnxNetwork) -> Iterator[Finding]:
    inputs, outputs = len(network.inputs), len(network.outputs)
    expected = _INTERFACES.get(name, (max(2, inputs), max(2, inputs)))
    if (inputs, outputs) != expected:
        what = (
            f"the {name} has {inputs} inputs and {outputs} outputs instead of "
            f"{expected[0]} and {expected[1]}"
        )
        fix = "export a streaming encoder" if name == "encoder" else _EXPORT_AGAIN
        yield _error("interface", str(network.path), what, fix)
    for port in (*network.inputs, *network.outputs):
        if port.dtype is None:
            what = f"{port.name} of the {name} is neither float32 nor int64"
            yield _error("type", str(network.path), what, "keep float32 at inputs and outputs")


def _sizes(networks: Mapping[str, OnnxNetwork], tokens: Path) -> Iterator[Finding]:
    joiner = networks["joiner"]
    encoder_dim, decoder_dim = (_width(networks[one].outputs[0]) for one in ("encoder", "decoder"))
    for name, given, port in zip(
        ("encoder", "decoder"), (encoder_dim, decoder_dim), joiner.inputs, strict=True
    ):
        if _differ(given, _width(port)):
            what = f"the {name} gives {given} numbers per frame, the joiner takes {_width(port)}"
            yield _error("joiner-dim", str(joiner.path), what, "use networks of one model")
    try:
        symbols = SymbolTable.read(tokens)
        vocab_size = _width(joiner.outputs[0])
        if isinstance(vocab_size, int):
            symbols.for_vocabulary(vocab_size)
    except TokensError as error:
        fix = error.fix or "give the tokens.txt that the model was trained with"
        yield _error("tokens", error.where or str(tokens), error.what, fix)


def _metadata(networks: Mapping[str, OnnxNetwork], *, asked: bool) -> Iterator[Finding]:
    encoder = networks["encoder"]
    model_type = encoder.metadata.get("model_type")
    if model_type is None:
        what = "the encoder says no model_type: sherpa-onnx cannot tell what it is"
        if encoder.metadata and not asked:
            fix = "nothing, if sherpa-onnx is not to run it"
            yield Finding("warning", "model-type", str(encoder.path), what, fix)
        else:
            yield _error("metadata-missing", str(encoder.path), what, _STAMP_AGAIN)
    elif model_type not in _MODEL_TYPES:
        what = f"calve does not know what sherpa-onnx reads from a model of type {model_type!r}"
        fix = f"known types are {', '.join(_MODEL_TYPES)}"
        yield Finding("warning", "model-type", str(encoder.path), what, fix)
    required = {"encoder": _MODEL_TYPES.get(model_type or "", ()), **_KEYS}
    for name, keys in required.items():
        network = networks[name]
        for key in keys:
            if not network.metadata.get(key, "").isdecimal():
                stored = network.metadata.get(key)
                what = f"the {name} says {key}={stored}; sherpa-onnx needs a number"
                yield _error("metadata-missing", str(network.path), what, _STAMP_AGAIN)
    yield from _contradictions(networks)


def _contradictions(networks: Mapping[str, OnnxNetwork]) -> Iterator[Finding]:
    """Where the metadata say one size and the network has another."""
    encoder, decoder, joiner = (networks[name] for name in NETWORKS)
    for network, key, actual in (
        (encoder, "T", _length(encoder.inputs[0], 1)),
        (decoder, "context_size", _width(decoder.inputs[0])),
        (decoder, "vocab_size", _width(joiner.outputs[0])),
        (joiner, "joiner_dim", _width(joiner.inputs[0])),
    ):
        stamped = network.metadata.get(key, "")
        if stamped.isdecimal() and _differ(int(stamped), actual):
            what = f"the metadata say {key}={stamped}, the network has {actual}"
            yield _error("metadata-mismatch", str(network.path), what, _STAMP_AGAIN)


def _width(port: OnnxPort) -> int | str | None:
    return _length(port, len(port.shape) - 1)


def _length(port: OnnxPort, axis: int) -> int | str | None:
    """Of one axis; None if the network does not say how many there are."""
    return port.shape[axis] if 0 <= axis < len(port.shape) else None


def _differ(one: int | str | None, other: int | str | None) -> bool:
    """Whether two lengths contradict one another; a free one agrees with every other."""
    return isinstance(one, int) and isinstance(other, int) and one != other


def _error(code: str, where: str, what: str, fix: str | None) -> Finding:
    return Finding("error", code, where, what, fix or _EXPORT_AGAIN)
