"""Creation of searches by name, and decoding of existing encoder output."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.common.config import resolve
from calve.data.tokens import SymbolTable
from calve.errors import ConfigError, DataError
from calve.models.live import is_live_model, live_runtime
from calve.protocols import Hypothesis, Search, Session
from calve.registry.catalog import registry
from calve.registry.defaults import default_decoding_method
from calve.registry.specs import DecodingMethodSpec

__all__ = ["make_search", "search"]


def make_search(
    method: str,
    session: Session,
    *,
    symbols: SymbolTable | None = None,
    initial_symbol: int | None = None,
    **options: Any,
) -> Search:
    """Bind a decoding method to a session.

    Args:
      method: Name of a registered decoding method.
      session: The networks.
      symbols: The model's symbol table, whose ``<unk>`` is never emitted; without it every symbol
        can be emitted, and files that name symbols cannot be read.
      initial_symbol: Input of the decoder before the first symbol, next to one blank: a second
        blank, or -1 for no symbol. By default the same as in the session's real runtime.
      **options: The method's own options.

    Raises:
      PluginError: if no plugin provides the method.
      ConfigError: if an option is unknown or wrong.
    """
    spec = registry().decoding_methods.get(method)
    made: Search = spec.search.load()(
        session,
        resolve(spec.options.load(), options),
        symbols=symbols,
        initial_symbol=initial_symbol,
    )
    return made


def search(
    model: Any,
    encoder_out: Any,
    encoder_out_lens: Any,
    method: str | None = None,
    *,
    symbols: SymbolTable | None = None,
    ref_text: Sequence[str | Sequence[int]] | None = None,
    **options: Any,
) -> list[Hypothesis]:
    """Decode existing encoder output of whole utterances.

    Args:
      model: A torch model of a recipe, as `calve.load_model` returns it, or a session.
      encoder_out: (N, T', D) float32, a tensor or an array: the output of the model's encoder or of
        the session for N utterances.
      encoder_out_lens: (N,) integers, frames of each utterance.
      method: Name of a registered decoding method; by default that of the installation.
      symbols: The model's symbol table, whose ``<unk>`` is never emitted.
      ref_text: The reference of each of the N utterances, as a text or in tokens, for a method that
        needs it; see `calve.registry.specs.DecodingMethodSpec.stream_options`.
      **options: The method's options, with icefall's names, and its options for one stream, which
        then apply to every utterance.

    Returns:
      One hypothesis for each utterance.

    Raises:
      PluginError: if no plugin provides the method.
      ConfigError: if an option is unknown or invalid, ``ref_text`` is missing or not supported, or
        ``model`` is neither a model nor a session.
      DataError: if ``encoder_out`` has a wrong shape, ``ref_text`` has another number of
        utterances, or the networks return NaN.
    """
    frames = _array(encoder_out).astype(np.float32, copy=False)
    lengths = _lengths(frames, _array(encoder_out_lens))
    if isinstance(model, Session):
        session = model
    elif is_live_model(model):
        session = live_runtime(model).bind(model)
        frames = session.project(frames)
    else:
        raise ConfigError(
            f"a search cannot run on a {type(model).__name__}",
            fix="give a model that calve.load_model returned, or a session",
        )
    name = method or default_decoding_method()
    spec = registry().decoding_methods.get(name)
    told_each = _told_each(spec, ref_text, len(lengths))
    for_streams, for_all = _split(spec, options)
    bound = make_search(
        name,
        session,
        symbols=symbols,
        initial_symbol=getattr(session, "offline_initial_symbol", None),
        **for_all,
    )
    streams = [bound.start(**for_streams, **told) for told in told_each]
    bound.advance(streams, [one[:length] for one, length in zip(frames, lengths, strict=True)])
    return [bound.result(stream) for stream in streams]


def _told_each(
    spec: DecodingMethodSpec, ref_text: Sequence[str | Sequence[int]] | None, utterances: int
) -> list[dict[str, Any]]:
    """Return the method's stream options for each utterance."""
    if "ref_text" not in spec.stream_options:
        if ref_text is not None:
            raise ConfigError(f"{spec.name} does not use ref_text", fix="leave it out")
        return [{} for _ in range(utterances)]
    if ref_text is None:
        raise ConfigError(
            f"{spec.name} needs a reference",
            fix="give ref_text, a list with the reference of each utterance",
        )
    if isinstance(ref_text, str) or any(isinstance(one, Integral) for one in ref_text):
        raise DataError(
            "ref_text is the reference of one utterance only",
            fix=f"give a list of {utterances}, each a text or a list of tokens",
        )
    if len(ref_text) != utterances:
        raise DataError(f"ref_text has {len(ref_text)} references for {utterances} utterances")
    return [{"ref_text": one} for one in ref_text]


def _split(
    spec: DecodingMethodSpec, options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the options into those of a single stream and the others."""
    of_streams = {name: options[name] for name in spec.stream_options if name in options}
    return of_streams, {name: options[name] for name in options if name not in of_streams}


def _array(values: Any) -> NDArray[Any]:
    """Convert a tensor of any device and precision, or anything that numpy accepts, to an array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    return np.asarray(values)


def _lengths(frames: NDArray[np.float32], lengths: NDArray[Any]) -> Sequence[int]:
    if frames.ndim != 3:
        raise DataError(
            f"encoder_out has the shape {frames.shape}",
            fix="give (utterances, frames, dimension)",
        )
    if lengths.shape != frames.shape[:1] or not np.issubdtype(lengths.dtype, np.integer):
        raise DataError(
            f"encoder_out_lens is {lengths.dtype} of the shape {lengths.shape}",
            fix=f"give one integer for each of the {len(frames)} utterances",
        )
    for utterance, length in enumerate(lengths.tolist()):
        if not 0 <= length <= frames.shape[1]:
            raise DataError(
                f"encoder_out_lens says {length} frames, but encoder_out has {frames.shape[1]}",
                where=f"utterance {utterance}",
            )
    counts: list[int] = lengths.tolist()
    return counts
