"""``calve export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from calve.bundles.bundle import Bundle
from calve.cli.checkpoint_options import checkpoint_options
from calve.cli.field_types import BOOLEAN
from calve.cli.options import (
    Decorator,
    RecipeGroup,
    dataclass_options,
    decorated,
    json_option,
    loadable_options,
    recipe_options,
    strict_option,
)
from calve.cli.output import echo, print_json, print_table, warn
from calve.common.config import resolve
from calve.common.printable import size_text
from calve.common.progress import console_progress
from calve.exporting.export import export as run_export
from calve.exporting.parity import ParityReport
from calve.models.checkpoints import CheckpointChoice
from calve.models.training_range import untrained
from calve.protocols.bundles import BundleManifest
from calve.protocols.states import streaming_obstacle
from calve.registry.catalog import registry
from calve.registry.defaults import default_format
from calve.registry.specs import RecipeSpec

__all__ = ["export", "print_summary"]


def _export_command(recipe: RecipeSpec) -> click.Command:
    @click.command(recipe.name, help=f"Export a checkpoint of {recipe.name}: {recipe.summary}.")
    @_export_options(recipe)
    def command(
        checkpoint: CheckpointChoice,
        tokens: Path | None,
        format_name: str,
        output: Path,
        overwrite: bool,
        streaming_model: bool | None,
        strict: bool,
        format_options: dict[str, Any],
        encoder: dict[str, Any],
        model: dict[str, Any],
        as_json: bool,
    ) -> None:
        bundle = run_export(
            recipe.name,
            checkpoint=checkpoint,
            output=output,
            tokens=tokens,
            format=format_name,
            overwrite=overwrite,
            streaming=streaming_model,
            strict=strict,
            overrides={"encoder": encoder, "model": model},
            progress=console_progress(),
            **format_options,
        )
        if as_json:
            print_json(_summary(bundle), indent=2)
        else:
            print_summary(bundle)
        manifest = bundle.manifest
        warn(manifest.steps.get("lint", []))
        if manifest.streaming:
            warn(untrained(manifest.encoder, manifest.config["encoder"], manifest.geometry))
        elif streaming_model is None:
            warn([_why_not_streaming(manifest)])

    return command


export = RecipeGroup(
    "export",
    make_command=_export_command,
    help="Export a checkpoint as a bundle for a device, compared with torch step by step.",
)


def _export_options(recipe: RecipeSpec) -> Decorator:
    formats = registry().exporters
    default = default_format()
    of_formats = loadable_options("format", {one.format: one.options for one in formats})
    options: tuple[Decorator, ...] = (
        checkpoint_options,
        click.option(
            "--tokens",
            type=click.Path(path_type=Path),
            help="The model's tokens.txt; not needed for a builtin checkpoint.",
        ),
        click.option(
            "--format",
            "format_name",
            type=click.Choice(sorted(formats.names())),
            default=default,
            required=default is None,
            show_default=True,
            help="Export format.",
        ),
        click.option(
            "--output", type=click.Path(path_type=Path), required=True, help="Directory to create."
        ),
        click.option("--overwrite", is_flag=True, help="Replace the output if it exists."),
        click.option(
            "--streaming-model",
            type=BOOLEAN,
            help="1 for a bundle that streams, 0 for whole utterances.  [default: 1 if the "
            "encoder can stream]",
        ),
        strict_option,
        dataclass_options(*of_formats, key="format_options"),
        recipe_options(recipe),
        json_option,
    )
    return lambda function: decorated(function, options)


def _why_not_streaming(manifest: BundleManifest) -> str:
    """Why a bundle is for whole utterances though nobody asked for that."""
    spec = registry().encoders.get(manifest.encoder)
    config = resolve(spec.config.load(), manifest.config["encoder"])
    obstacle = streaming_obstacle(spec.build.load()(config))
    assert obstacle is not None
    return (
        f"the bundle is for whole utterances; if that is meant, say --streaming-model 0: {obstacle}"
    )


def _summary(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest.to_json()
    keys = (
        "recipe",
        "format",
        "streaming",
        "features",
        "precision",
        "parameters",
        "files",
        "parity",
        "tools",
    )
    return {"bundle": str(bundle.path)} | {key: manifest[key] for key in keys}


def print_summary(bundle: Bundle) -> None:
    """Parameter counts, file sizes and the agreement with torch, as tables."""
    manifest = bundle.manifest
    parity = ParityReport.from_json(manifest.parity)
    echo()
    print_table(
        ("network", "parameters", "precision"),
        [
            (name, f"{count:,}", manifest.precision.get(name, ""))
            for name, count in manifest.parameters.items()
        ],
    )
    echo()
    print_table(
        ("file", "size"),
        [(name, size_text(record.size)) for name, record in sorted(manifest.files.items())],
    )
    echo(f"\nagreement with torch ({parity.precision})")
    print_table(
        ("output", "observed in", "number", "max abs error", "limit", "largest value"),
        [
            (
                one.output,
                one.observed,
                one.chunks,
                f"{one.max_abs_error:.1e}",
                f"{one.limit:.1e}",
                f"{one.peak:.3g}",
            )
            for one in parity.outputs
        ],
    )
    features = manifest.features
    echo(f"audio: {features.sample_rate} Hz, {features.num_mel_bins} mel bins a frame")
    verdict = "identical" if parity.tokens_equal else "DIFFERENT"
    echo(f"greedy tokens: {verdict} ({len(parity.tokens)} symbols)")
    if parity.precision == "int8":
        echo("fresh int8 weights are not held to the limits: judge them by the error rate")
    echo(f"\n{bundle.path} is ready.")
