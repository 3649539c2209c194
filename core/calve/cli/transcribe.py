"""``calve transcribe``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from calve.cli.checkpoint_options import optional_checkpoint_options
from calve.cli.decoding_options import (
    hotwords_to_report,
    method_option,
    simulate_streaming_option,
    unit_option,
)
from calve.cli.field_types import CHUNK_MS, integer
from calve.cli.options import (
    encoder_options,
    json_option,
    num_threads_option,
    strict_option,
    trust_option,
)
from calve.cli.output import echo, hotwords_text, print_error, print_json, score_text, warn
from calve.common.config import option_name
from calve.common.files import check_writable
from calve.common.printable import one_line
from calve.data.recordings import match_transcripts, read_transcripts
from calve.decoding.bundle_model import BundleModel
from calve.decoding.checkpoint_model import CheckpointModel
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.recognizers import AnyRecognizer, Mode, load_recognizer, transcribe_each
from calve.decoding.transcript import Transcript
from calve.errors import CalveError, ConfigError
from calve.models.checkpoints import CheckpointChoice
from calve.scoring.error_rates import DecodedUtterance, score
from calve.scoring.result_files import ResultFiles, write_results

__all__ = ["transcribe"]


@click.command("transcribe")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(), metavar="[BUNDLE] RECORDINGS..."
)
@optional_checkpoint_options
@click.option(
    "--recipe",
    metavar="NAME",
    help="Recipe of the checkpoint.  [default: as stored in the checkpoint]",
)
@click.option(
    "--tokens",
    type=click.Path(path_type=Path),
    help="The checkpoint's tokens.txt; not needed for a builtin checkpoint.",
)
@click.option(
    "--sample-rate",
    type=integer(8000, 48_000),
    help="Sampling rate in Hz of the audio that the checkpoint was trained on; recordings are "
    "converted to it.  [default: as stored in the checkpoint, otherwise 16000]",
)
@click.option("--offline", is_flag=True, help="Decode whole utterances with a checkpoint.")
@simulate_streaming_option
@click.option(
    "--chunk-ms",
    type=CHUNK_MS,
    help="Milliseconds of audio per encoder step. sherpa-ncnn uses 40; longer chunks are "
    "faster.  [default: the model's own]",
)
@num_threads_option
@method_option
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    help="References: lines 'file-name<TAB>words', or a lhotse manifest. Prints the error rate.",
)
@unit_option
@click.option(
    "--res-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for recogs-*.txt, errs-*.txt, errs-*.html and wer-summary-*.txt; needs "
    "--reference.",
)
@strict_option
@encoder_options
@trust_option
@json_option
@click.pass_context
def transcribe(
    ctx: click.Context,
    paths: tuple[str, ...],
    checkpoint: CheckpointChoice | None,
    recipe: str | None,
    tokens: Path | None,
    sample_rate: int | None,
    offline: bool,
    simulate_streaming: bool,
    chunk_ms: int | None,
    num_threads: int,
    method: DecodingMethod,
    reference: Path | None,
    unit: str,
    res_dir: Path | None,
    strict: bool,
    encoder: dict[str, Any],
    as_json: bool,
) -> None:
    """Transcribe RECORDINGS (any sampling rate, any number of channels).

    The model is BUNDLE or, without one, a checkpoint: --checkpoint or --exp-dir, with --recipe
    and --tokens. A checkpoint streams too, unless --offline or --simulate-streaming says
    otherwise. A recording that cannot be read is reported, and the others are transcribed all the
    same.
    """
    if res_dir is not None and reference is None:
        raise ConfigError("--res-dir needs --reference", fix="say what is said in the recordings")
    spoken = None if reference is None else read_transcripts(reference)
    model: BundleModel | CheckpointModel
    mode: Mode | None = None
    chunk_size: int | None = None
    if checkpoint is None:
        of_checkpoints = {
            "recipe": recipe,
            "tokens": tokens,
            "sample_rate": sample_rate,
            "offline": offline,
            "simulate_streaming": simulate_streaming,
            **dict.fromkeys(encoder, True),
        }
        bundle, *recordings = paths
        _check_bundle(bundle, recordings, [name for name, given in of_checkpoints.items() if given])
        model = BundleModel(Path(bundle), num_threads)
    else:
        recordings = list(paths)
        _check_recordings(recordings)
        chunk_size = encoder.get("decode_chunk_size")
        mode = _mode(chunk_size, chunk_ms, offline=offline, simulate_streaming=simulate_streaming)
        model = CheckpointModel.read(
            checkpoint,
            recipe=recipe,
            encoder=encoder,
            sample_rate=sample_rate,
            tokens=tokens,
            num_threads=num_threads,
        )
    loaded = load_recognizer(
        model, method, mode=mode, chunk_ms=chunk_ms, chunk_size=chunk_size, strict=strict
    )
    warn(loaded.warnings)
    for note in loaded.notes:
        echo(note, err=True)
    hotwords = hotwords_to_report([method], model)
    references = None
    if reference is not None and spoken is not None:
        references = match_transcripts(spoken, map(Path, recordings), reference)
    if res_dir is not None:
        check_writable(res_dir)
    transcripts = []
    for transcript in _readable(loaded.recognizer, recordings):
        _print(transcript, as_json)
        transcripts.append(transcript)
    complete = len(transcripts) == len(recordings)
    if references is not None:
        decoded = list(_with_references(transcripts, references))
        complete = complete and len(decoded) == len(transcripts)
        found = score(decoded, unit)
        # In JSON mode, stdout holds one object for each recording and nothing else.
        echo(score_text(found), err=as_json)
        if hotwords:
            echo(hotwords_text(decoded, hotwords), err=as_json)
        if res_dir is not None:
            files = ResultFiles.named(res_dir, model.name, method.name)
            write_results(files, f"{model.name} {method.name}", decoded, found, hotwords)
            echo(f"{files.page} shows every error", err=True)
    if not complete:
        ctx.exit(1)


def _check_bundle(bundle: str, recordings: list[str], of_checkpoints: list[str]) -> None:
    if Path(bundle).is_file():
        raise ConfigError(
            "neither a bundle nor a checkpoint was given",
            where=bundle,
            fix="calve transcribe BUNDLE RECORDINGS..., or --checkpoint FILE or builtin:NAME",
        )
    if not recordings:
        raise click.UsageError("Missing argument 'RECORDINGS...'.")
    if of_checkpoints:
        flags = ", ".join(map(option_name, of_checkpoints))
        raise ConfigError(
            f"{flags}: of a checkpoint only; a bundle is what it was exported as",
            where=bundle,
            fix="leave it out, or name the checkpoint instead of the bundle",
        )


def _mode(
    chunk_size: int | None, chunk_ms: int | None, *, offline: bool, simulate_streaming: bool
) -> Mode | None:
    if offline and simulate_streaming:
        raise click.UsageError("--offline and --simulate-streaming exclude one another")
    if chunk_size is not None and chunk_ms is not None:
        raise click.UsageError("--decode-chunk-size and --chunk-ms exclude one another")
    if offline and (chunk_size is not None or chunk_ms is not None):
        raise click.UsageError("--offline has no chunks: leave their length out")
    if offline:
        return "offline"
    return "simulated streaming" if simulate_streaming else None


def _check_recordings(recordings: Iterable[str]) -> None:
    for recording in recordings:
        if Path(recording).is_dir():
            raise ConfigError(
                "a folder is no recording, and a bundle and a checkpoint exclude one another",
                where=recording,
                fix="give one of them",
            )


def _readable(recognizer: AnyRecognizer, recordings: Iterable[str]) -> Iterator[Transcript]:
    for outcome in transcribe_each(recognizer, recordings):
        if isinstance(outcome, CalveError):
            print_error(outcome)
            continue
        for note in outcome.notes:
            echo(f"{outcome.path}: {note}", err=True)
        yield outcome


def _with_references(
    transcripts: Iterable[Transcript], references: Mapping[Path, str | None]
) -> Iterator[DecodedUtterance]:
    names = Counter(path.name for path in references)
    for transcript in transcripts:
        path = Path(transcript.path)
        reference = references[path]
        if reference is None:
            echo(f"{transcript.path}: no reference, and not counted", err=True)
            continue
        # Results are listed by name, so recordings of one name need their paths.
        name = path.name if names[path.name] == 1 else transcript.path
        yield DecodedUtterance(name, reference, transcript.text, transcript.word_timestamps)


def _print(transcript: Transcript, as_json: bool) -> None:
    if as_json:
        print_json(transcript.to_json())
        return
    echo(f"{one_line(transcript.path)}: {one_line(transcript.text)}")
    echo(f"  {transcript.duration:.2f} s, RTF {transcript.rtf:.3f}", err=True)
