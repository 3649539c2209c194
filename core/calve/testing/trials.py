"""Bundles of very small models for the kit."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calve.bundles.bundle import GOLDEN_FILE, TOKENS_FILE, Bundle
from calve.exporting.export import export_unclaimed
from calve.exporting.request import ExportRequest
from calve.registry.catalog import registry
from calve.registry.claims import claimed_formats
from calve.registry.specs import ExporterSpec
from calve.testing.checks import fail, require
from calve.testing.folders import kept_folder, temporary_folder
from calve.testing.tiny import TinyModel, make_tiny_model

__all__ = [
    "check_without_torch",
    "copy_of",
    "export_tiny",
    "exported",
    "kept_bundle",
    "recipe_for",
    "tiny_model",
    "weight_files",
    "working_copy",
]

_TIME_LIMIT = 120.0

_VERIFY = """
import sys
sys.modules["torch"] = None
from calve.bundles.bundle import Bundle
from calve.errors import CalveError
from calve.exporting.verification import FAILED, check_bundle
for check in check_bundle(Bundle.open(sys.argv[1])):
    if check.outcome == FAILED:
        print(f"{check.name}: {check.detail}")
"""


def recipe_for(format_name: str, chosen: str | None = None) -> str:
    """Return a recipe whose encoder supports a format: ``chosen``, or the first registered one."""
    claiming = [
        recipe.name
        for recipe in registry().recipes
        if chosen in (None, recipe.name) and format_name in claimed_formats(recipe.encoder)
    ]
    if not claiming:
        fail(
            f"the format {format_name!r} is claimed for no encoder, so nothing can be tried: name "
            "encoders in ExporterSpec.encoders, or the format in an EncoderSpec"
        )
    return claiming[0]


@functools.cache
def tiny_model(recipe: str) -> TinyModel:
    """A tiny random model of a recipe, made once for all checks."""
    return make_tiny_model(recipe)


def export_tiny(
    recipe: str,
    format_name: str,
    output: Path,
    *,
    streaming: bool | None = None,
    options: Mapping[str, Any] | None = None,
) -> Bundle:
    """Export the tiny model of a recipe.

    Args:
      recipe: Name of a registered recipe.
      format_name: Name of an export format, claimed or not.
      output: Folder to create.
      streaming: As `calve.exporting.request.ExportRequest` has it.
      options: Options of the format.
    """
    model = tiny_model(recipe)
    with temporary_folder() as folder:
        checkpoint, tokens = model.write(folder)
        return export_unclaimed(
            ExportRequest(
                recipe=recipe,
                checkpoint=checkpoint,
                output=output,
                format=format_name,
                tokens=tokens,
                streaming=streaming,
                overrides=model.options,
                options=options or {},
            )
        )


@contextmanager
def exported(recipe: str, format_name: str) -> Iterator[Bundle]:
    """A bundle of a tiny random model for the ``with`` block."""
    with temporary_folder() as folder:
        yield export_tiny(recipe, format_name, folder / "bundle")


def kept_bundle(recipe: str, format_name: str, precision: str) -> Bundle:
    """A bundle of a tiny random model, made once for all checks, which must not modify it."""
    return _kept_bundle(recipe, registry().exporters.get(format_name), precision)


@functools.cache
def _kept_bundle(recipe: str, exporter: ExporterSpec, precision: str) -> Bundle:
    options = exporter.precisions[precision]
    return export_tiny(recipe, exporter.format, kept_folder() / "bundle", options=options)


def copy_of(bundle: Bundle, folder: Path) -> Bundle:
    """A copy in a new folder; links stay links."""
    return Bundle(Path(shutil.copytree(bundle.path, folder, symlinks=True)), bundle.manifest)


@contextmanager
def working_copy(bundle: Bundle) -> Iterator[Bundle]:
    """A copy for the ``with`` block that checks may modify."""
    with temporary_folder() as folder:
        yield copy_of(bundle, folder / "bundle")


def weight_files(bundle: Bundle) -> list[str]:
    """Names of the files that an exporter wrote, without those that every bundle has."""
    return [name for name in bundle.manifest.files if name not in (TOKENS_FILE, GOLDEN_FILE)]


def check_without_torch(bundle: Bundle) -> None:
    """Check that a bundle can be verified in a process that cannot import torch."""
    child = subprocess.run(
        [sys.executable, "-c", _VERIFY, str(bundle.path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=_TIME_LIMIT,
    )
    require(
        child.returncode == 0 and not child.stdout,
        "where torch is not installed the bundle does not work; its runtime must not import "
        f"torch:\n{child.stdout}{child.stderr}",
    )
