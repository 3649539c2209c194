"""``calve transcribe``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from calve.bundle import Bundle
from calve.cli.options import dataclass_options, json_option, strict_option
from calve.cli.output import print_json, score_text, warn
from calve.error_files import ResultFiles, write_results
from calve.errors import AudioError, ConfigError
from calve.recordings import read_transcripts, transcript_of
from calve.registry import registry
from calve.scoring import UNITS, DecodedUtterance, score
from calve.searching import DEFAULT_SEARCH
from calve.training_range import check_trained_for, untrained
from calve.transcription import Recognizer, Transcript, word_timestamps

__all__ = ["transcribe"]


@click.command("transcribe")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("recordings", nargs=-1, required=True, type=click.Path())
@click.option(
    "--chunk-ms",
    type=int,
    help="Milliseconds of audio per encoder step; 40 is what sherpa-ncnn does, longer chunks are "
    "faster.  [default: the bundle's own]",
)
@click.option("--num-threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--decoding-method",
    default=DEFAULT_SEARCH,
    show_default=True,
    help=f"One of {', '.join(registry().searches.names())}.",
)
@dataclass_options(*(spec.options.load() for spec in registry().searches), key="search_options")
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    help="What is said: lines 'file-name<TAB>words', or a lhotse manifest. Prints the error rate.",
)
@click.option(
    "--unit",
    type=click.Choice(list(UNITS)),
    default="word",
    show_default=True,
    help="What errors are counted in.",
)
@click.option(
    "--res-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write recogs-*.txt, errs-*.txt, errs-*.html and wer-summary-*.txt here; needs "
    "--reference.",
)
@strict_option
@json_option
@click.pass_context
def transcribe(
    ctx: click.Context,
    bundle: Path,
    recordings: tuple[str, ...],
    chunk_ms: int | None,
    num_threads: int,
    decoding_method: str,
    search_options: dict[str, Any],
    reference: Path | None,
    unit: str,
    res_dir: Path | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Transcribe RECORDINGS (any sampling rate, any number of channels) with BUNDLE.

    A recording that cannot be read is reported, and the others are transcribed all the same.
    """
    if res_dir is not None and reference is None:
        raise ConfigError("--res-dir needs --reference", fix="say what is said in the recordings")
    spoken = None if reference is None else read_transcripts(reference)
    opened = Bundle.open(bundle)
    recognizer = Recognizer.from_bundle(
        opened,
        chunk_ms=chunk_ms,
        num_threads=num_threads,
        search=decoding_method,
        search_options=search_options,
    )
    steps = opened.manifest.encoder, opened.manifest.config["encoder"], recognizer.geometry
    if strict:
        check_trained_for(*steps)
    warn(untrained(*steps))
    transcripts = []
    for transcript in _readable(recognizer, recordings):
        _print(transcript, as_json)
        transcripts.append(transcript)
    complete = len(transcripts) == len(recordings)
    if spoken is not None:
        decoded = list(_with_references(transcripts, spoken))
        complete = complete and len(decoded) == len(transcripts)
        found = score(decoded, unit)
        # In JSON mode, stdout holds one object for each recording and nothing else.
        click.echo(score_text(found), err=as_json)
        if res_dir is not None:
            name = opened.path.resolve().name
            files = ResultFiles.named(res_dir, name, decoding_method)
            write_results(files, f"{name} {decoding_method}", decoded, found)
            click.echo(f"{files.page} shows every error", err=True)
    if not complete:
        ctx.exit(1)


def _readable(recognizer: Recognizer, recordings: Iterable[str]) -> Iterator[Transcript]:
    for recording in recordings:
        try:
            transcript = recognizer.transcribe(recording)
        except AudioError as error:
            error.show()
            continue
        for note in transcript.notes:
            click.echo(f"{recording}: {note}", err=True)
        yield transcript


def _with_references(
    transcripts: Iterable[Transcript], spoken: Mapping[str, str]
) -> Iterator[DecodedUtterance]:
    for transcript in transcripts:
        reference = transcript_of(spoken, Path(transcript.path))
        if reference is None:
            click.echo(f"{transcript.path}: no reference, and not counted", err=True)
            continue
        yield DecodedUtterance(
            Path(transcript.path).name, reference, transcript.text, word_timestamps(transcript)
        )


def _print(transcript: Transcript, as_json: bool) -> None:
    if as_json:
        print_json(transcript.to_json())
        return
    click.echo(f"{transcript.path}: {transcript.text}")
    click.echo(f"  {transcript.duration:.2f} s, RTF {transcript.rtf:.3f}", err=True)
