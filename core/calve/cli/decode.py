"""``calve decode``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from calve.bundle import Bundle
from calve.checkpoint import CheckpointChoice
from calve.claims import claimed_clients
from calve.cli.options import (
    RecipeGroup,
    checkpoint_options,
    corpus_options,
    json_option,
    recipe_options,
)
from calve.cli.output import print_json, print_table
from calve.decoding import (
    Utterance,
    decode_chunks,
    decode_utterances,
    read_utterances,
    transcribe_with_client,
)
from calve.discovery import load_driver
from calve.exporting import model_symbols
from calve.features import FeatureConfig
from calve.models import load
from calve.progress import console_progress
from calve.registry import registry
from calve.scoring import ErrorCounts, total_errors
from calve.specs import RecipeSpec
from calve.transcription import Recognizer

__all__ = ["decode"]


@dataclass(frozen=True)
class Decoder:
    """One way from audio to text.

    Attributes:
      runtime: What runs the networks.
      mode: How they see the audio.
      texts: The texts of utterances.
    """

    runtime: str
    mode: str
    texts: Callable[[Sequence[Utterance]], list[str]]


def _decode_command(recipe: RecipeSpec) -> click.Command:
    @click.command(recipe.name, help=f"Print the WER of a checkpoint of {recipe.name}.")
    @checkpoint_options
    @click.option(
        "--tokens",
        type=click.Path(path_type=Path),
        help="The model's tokens.txt.  [default: a builtin checkpoint's own, else the corpus']",
    )
    @corpus_options
    @click.option(
        "--split",
        "splits",
        multiple=True,
        default=("test",),
        show_default=True,
        help="Part of the corpus; may be given several times.",
    )
    @click.option(
        "--bundle",
        "bundle_dir",
        type=click.Path(path_type=Path),
        help="An export of the same checkpoint: decode with its runtime and its clients as well.",
    )
    @click.option(
        "--chunk-ms",
        type=int,
        help="Milliseconds of audio per encoder step.  [default: the recipe's own]",
    )
    @click.option("--num-threads", type=click.IntRange(min=1), default=1, show_default=True)
    @recipe_options(recipe)
    @json_option
    def command(
        checkpoint: CheckpointChoice,
        tokens: Path | None,
        corpus: str,
        data_dir: Path,
        splits: tuple[str, ...],
        bundle_dir: Path | None,
        chunk_ms: int | None,
        num_threads: int,
        encoder: dict[str, Any],
        model: dict[str, Any],
        as_json: bool,
    ) -> None:
        loaded = load(recipe.name, checkpoint, {"encoder": encoder, "model": model})
        if tokens is None and "builtin" not in loaded.checkpoint.provenance:
            tokens = data_dir / registry().datasets.get(corpus).tokens
        decoders = list(_torch_decoders(loaded, tokens, chunk_ms, num_threads))
        if bundle_dir is not None:
            bundle = Bundle.open(bundle_dir)
            decoders.extend(_bundle_decoders(bundle, chunk_ms, num_threads))
        corpora = {split: read_utterances(corpus, data_dir, split) for split in splits}
        rows = _decode(decoders, corpora)
        if as_json:
            print_json(rows, indent=2)
        else:
            _print(rows)

    return command


decode = RecipeGroup(
    "decode",
    make_command=_decode_command,
    help="Decode a corpus with a checkpoint, and with a bundle of it; print the WER.",
)


def _torch_decoders(
    loaded: Any, tokens: Path | None, chunk_ms: int | None, num_threads: int
) -> Iterator[Decoder]:
    session = load_driver("calve.runtimes", "torch").open(loaded, num_threads=num_threads)
    symbols = model_symbols(tokens, loaded)
    features = FeatureConfig(num_mel_bins=session.feature_dim)
    geometry = session.geometry if chunk_ms is None else session.geometry.with_chunk_ms(chunk_ms)
    yield Decoder(
        "torch",
        "whole utterances",
        lambda utterances: decode_utterances(session, symbols, utterances, features),
    )
    yield Decoder(
        "torch",
        f"streaming, {geometry.chunk_ms} ms",
        lambda utterances: decode_chunks(session, symbols, utterances, features, geometry),
    )


def _bundle_decoders(bundle: Bundle, chunk_ms: int | None, num_threads: int) -> Iterator[Decoder]:
    recognizer = Recognizer.from_bundle(bundle, chunk_ms=chunk_ms, num_threads=num_threads)
    yield Decoder(
        bundle.manifest.runtime,
        f"streaming, {recognizer.geometry.chunk_ms} ms",
        lambda utterances: [recognizer.transcribe_audio(one.audio).text for one in utterances],
    )
    for client in claimed_clients(bundle.manifest.encoder, bundle.manifest.format):
        if not client.is_installed:
            click.echo(f"{client.name} is not installed, and left out", err=True)
            continue
        yield Decoder(
            client.name,
            "streaming",
            partial(transcribe_with_client, client, bundle, num_threads=num_threads),
        )


def _decode(
    decoders: Sequence[Decoder], corpora: dict[str, list[Utterance]]
) -> list[dict[str, Any]]:
    progress = console_progress()
    rows = []
    for split, utterances in corpora.items():
        references = [utterance.text for utterance in utterances]
        for decoder in decoders:
            progress.start(f"{split}: {decoder.runtime}, {decoder.mode}")
            texts = decoder.texts(utterances)
            progress.finish()
            counts = total_errors(zip(references, texts, strict=True))
            rows.append(_row(split, decoder, counts))
    return rows


def _row(split: str, decoder: Decoder, counts: ErrorCounts) -> dict[str, Any]:
    return {
        "split": split,
        "runtime": decoder.runtime,
        "mode": decoder.mode,
        "wer": counts.wer,
        **asdict(counts),
    }


def _print(rows: Sequence[dict[str, Any]]) -> None:
    columns = ["split", "runtime", "mode", "WER %", "sub", "ins", "del", "words", "utt", "wrong"]
    keys = list(rows[0])
    table = [
        [f"{row[key]:.2f}" if key == "wer" and row[key] is not None else row[key] for key in keys]
        for row in rows
    ]
    print_table(columns, table)
