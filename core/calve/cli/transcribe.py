"""``calve transcribe``."""

from __future__ import annotations

from pathlib import Path

import click

from calve.bundle import Bundle
from calve.cli.options import json_option
from calve.cli.output import print_json
from calve.errors import AudioError
from calve.transcription import DEFAULT_SEARCH, Recognizer, Transcript

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
    "--decoding-method", default=DEFAULT_SEARCH, show_default=True, help="A registered search."
)
@json_option
@click.pass_context
def transcribe(
    ctx: click.Context,
    bundle: Path,
    recordings: tuple[str, ...],
    chunk_ms: int | None,
    num_threads: int,
    decoding_method: str,
    as_json: bool,
) -> None:
    """Transcribe RECORDINGS (any sampling rate, any number of channels) with BUNDLE.

    A recording that cannot be read is reported, and the others are transcribed all the same.
    """
    recognizer = Recognizer.from_bundle(
        Bundle.open(bundle), chunk_ms=chunk_ms, num_threads=num_threads, search=decoding_method
    )
    unreadable = 0
    for recording in recordings:
        try:
            transcript = recognizer.transcribe(recording)
        except AudioError as error:
            error.show()
            unreadable += 1
            continue
        for note in transcript.notes:
            click.echo(f"{recording}: {note}", err=True)
        _print(transcript, as_json)
    if unreadable:
        ctx.exit(1)


def _print(transcript: Transcript, as_json: bool) -> None:
    if as_json:
        print_json(transcript.to_json())
        return
    click.echo(f"{transcript.path}: {transcript.text}")
    click.echo(f"  {transcript.duration:.2f} s, RTF {transcript.rtf:.3f}", err=True)
