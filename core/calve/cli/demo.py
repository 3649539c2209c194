"""``calve demo``: export, verify and transcribe with a shipped checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from calve.bundles.bundle import Bundle
from calve.cli.export import print_summary
from calve.cli.output import echo, outcome_text, print_table, styled
from calve.common.progress import console_progress
from calve.data.recordings import TRANSCRIPTS_FILE, read_transcripts
from calve.decoding.recognizers import transcribe
from calve.errors import BundleError
from calve.exporting.export import export
from calve.exporting.verification import FAILED, verify
from calve.models.checkpoints import BUILTIN_PREFIX, builtin_checkpoint
from calve.registry.catalog import registry
from calve.registry.claims import claimed_clients
from calve.registry.defaults import default_checkpoint
from calve.registry.specs import ClientSpec, PretrainedSpec

__all__ = ["demo"]


@click.command("demo")
@click.argument(
    "recordings", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--model",
    default=default_checkpoint(),
    required=default_checkpoint() is None,
    show_default=True,
    metavar="NAME",
    help="Name of a checkpoint that comes with a recipe.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Directory for the bundle.",
)
@click.option("--overwrite", is_flag=True, help="Replace the bundle if it exists.")
def demo(recordings: tuple[Path, ...], model: str, output: Path, overwrite: bool) -> None:
    """Export a shipped checkpoint, check the bundle, and transcribe RECORDINGS.

    Without RECORDINGS, the demo transcribes those that come with the checkpoint.
    """
    with ExitStack() as stack:
        pretrained, _ = stack.enter_context(builtin_checkpoint(model))
        recipe = next(one for one in registry().recipes if pretrained in one.pretrained)
        checkpoint = f"{BUILTIN_PREFIX}{pretrained.name}"
        _heading(1, f"export {checkpoint} ({pretrained.summary})")
        bundle = export(
            recipe.name,
            checkpoint=checkpoint,
            output=output / pretrained.name,
            overwrite=overwrite,
            progress=console_progress(),
        )
        print_summary(bundle)
        _heading(2, "verify the bundle")
        _verify(bundle)
        _heading(3, "transcribe")
        references = {} if recordings else _shipped_recordings(pretrained, stack)
        paths = list(recordings) or list(references)
        _transcribe(bundle, paths, references)
    echo(f"\nNext: calve transcribe {bundle.path} YOUR.wav")


def _heading(number: int, title: str) -> None:
    echo(styled(f"\n{number}. {title}", bold=True))


def _verify(bundle: Bundle) -> None:
    failures = 0
    for check in verify(bundle.path):
        failures += check.outcome == FAILED
        echo(outcome_text(check.outcome, 8), f"{check.name}: {check.detail}")
    if failures:
        raise BundleError(f"{failures} checks failed", where=bundle.path)


def _shipped_recordings(pretrained: PretrainedSpec, stack: ExitStack) -> dict[Path, str]:
    """The recordings that come with a checkpoint, and their words."""
    if pretrained.recordings is None:
        return {}
    folder = stack.enter_context(pretrained.recordings.as_file())
    transcripts = read_transcripts(folder / TRANSCRIPTS_FILE)
    return {folder / name: words for name, words in transcripts.items()}


def _transcribe(bundle: Bundle, paths: Sequence[Path], references: dict[Path, str]) -> None:
    columns = (
        ["recording", "spoken", "calve", "RTF"] if references else ["recording", "calve", "RTF"]
    )
    rows: list[list[object]] = []
    for path, transcript in zip(paths, transcribe(bundle, paths), strict=True):
        spoken = [references[path]] if references else []
        rows.append([path.name, *spoken, transcript.text, f"{transcript.rtf:.3f}"])
    for client in _installed_clients(bundle):
        columns += [client.name, "RTF"]
        results = client.transcribe.load()(
            bundle.path, paths, num_threads=1, tail_seconds=bundle.tail_seconds
        )
        for row, result in zip(rows, results, strict=True):
            row += [result.text.strip(), f"{result.decode_seconds / result.duration:.3f}"]
    print_table(columns, rows)


def _installed_clients(bundle: Bundle) -> list[ClientSpec]:
    claimed = claimed_clients(bundle.manifest.encoder, bundle.manifest.format)
    installed = [client for client in claimed if client.is_installed]
    for client in claimed:
        if client not in installed:
            echo(f"{client.name} is not installed: pip install 'calve[{client.extra}]'")
    return installed
