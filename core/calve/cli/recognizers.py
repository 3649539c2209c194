"""Opens the recognizer of ``calve transcribe`` for a bundle or a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from calve.bundles.bundle import Bundle
from calve.cli.decoding_options import check_steps, has_chunk_size
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.offline_recognizer import OfflineRecognizer
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.decoding.recognizers import AnyRecognizer, open_recognizer
from calve.decoding.sources import BundleModel, CheckpointModel, OpenedModel, StreamingSetup
from calve.models.checkpoints import CheckpointChoice, load_state_dict
from calve.models.loading import ModelBuilder, recipe_of
from calve.protocols.states import streaming_obstacle
from calve.registry.catalog import registry

__all__ = ["bundle_recognizer", "checkpoint_recognizer"]


def bundle_recognizer(
    source: BundleModel, method: DecodingMethod, chunk_ms: int | None, *, strict: bool
) -> AnyRecognizer:
    """A bundle on the runtime of its format, streaming unless it is for whole utterances.

    Args:
      strict: Whether to refuse what the model was not trained for, instead of warning.

    Raises:
      BundleError, ConfigError, PluginError: if it cannot be used so.
    """
    bundle = Bundle.open(source.path)
    recognizer = open_recognizer(bundle, method, chunk_ms=chunk_ms, num_threads=source.num_threads)
    if isinstance(recognizer, OnlineRecognizer):
        manifest = bundle.manifest
        steps = StreamingSetup(manifest.encoder, manifest.config["encoder"], recognizer.geometry)
        check_steps(steps, strict=strict)
    return recognizer


def checkpoint_recognizer(
    checkpoint: CheckpointChoice,
    method: DecodingMethod,
    *,
    recipe: str | None,
    tokens: Path | None,
    encoder: Mapping[str, Any],
    num_threads: int,
    chunk_ms: int | None,
    offline: bool,
    simulate_streaming: bool,
    strict: bool,
) -> tuple[CheckpointModel, AnyRecognizer]:
    """A checkpoint on the torch runtime, and how it recognizes.

    It streams, unless told otherwise. An encoder that cannot sees whole utterances, and a line on
    stderr says so; if a chunk length was given, that is an error.

    Args:
      recipe: By default what the checkpoint itself says.
      tokens: The symbol table; None for a builtin checkpoint's own.
      encoder: Options of the encoder; ``decode_chunk_size`` is understood of every encoder.
      strict: Whether to refuse chunks that the model was not trained for, instead of warning.

    Raises:
      CheckpointError, ConfigError, PluginError, TokensError: if it cannot be used so.
    """
    chunk_size = encoder.get("decode_chunk_size")
    _check_mode(chunk_size, chunk_ms, offline=offline, simulate_streaming=simulate_streaming)
    weights = load_state_dict(checkpoint)
    name = recipe or recipe_of(weights)
    model = CheckpointModel(name, checkpoint, _overrides(name, encoder), tokens, num_threads)
    model.adopt(weights)
    opened = model.open()
    model.release()  # the session has a copy of its own
    session = opened.session
    if offline:
        return model, OfflineRecognizer(session, opened.symbols, method, features=opened.features)
    session.geometry = session.geometry.with_chunk_size(chunk_size)
    if simulate_streaming:
        if chunk_ms is not None:
            session.geometry = session.geometry.with_chunk_ms(chunk_ms)
        check_steps(StreamingSetup(opened.encoder, opened.config, session.geometry), strict=strict)
        simulated = OfflineRecognizer(
            session, opened.symbols, method, features=opened.features, simulate_streaming=True
        )
        return model, simulated
    obstacle = streaming_obstacle(session)
    if obstacle is None:
        return model, _streaming(opened, method, chunk_ms, strict=strict)
    if chunk_size is not None or chunk_ms is not None:
        raise obstacle
    click.echo(f"whole utterances, not streaming: {obstacle}", err=True)
    return model, OfflineRecognizer(session, opened.symbols, method, features=opened.features)


def _streaming(
    opened: OpenedModel[Any], method: DecodingMethod, chunk_ms: int | None, *, strict: bool
) -> OnlineRecognizer:
    recognizer = OnlineRecognizer(
        opened.session,
        opened.symbols,
        method,
        features=opened.features,
        tail_padding_frames=opened.tail_padding_frames,
        chunk_ms=chunk_ms,
    )
    check_steps(StreamingSetup(opened.encoder, opened.config, recognizer.geometry), strict=strict)
    return recognizer


def _check_mode(
    chunk_size: int | None, chunk_ms: int | None, *, offline: bool, simulate_streaming: bool
) -> None:
    if offline and simulate_streaming:
        raise click.UsageError("--offline and --simulate-streaming exclude one another")
    if chunk_size is not None and chunk_ms is not None:
        raise click.UsageError("--decode-chunk-size and --chunk-ms exclude one another")
    if offline and (chunk_size is not None or chunk_ms is not None):
        raise click.UsageError("--offline has no chunks: leave their length out")


def _overrides(recipe: str, encoder: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Options of the encoder by table, the chunk left out where the encoder has none of its own."""
    ignored = () if has_chunk_size(registry().recipes.get(recipe)) else ("decode_chunk_size",)
    options = {name: value for name, value in encoder.items() if name not in ignored}
    return ModelBuilder(recipe).by_table(options)
