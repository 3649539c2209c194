"""Bundles of very small models for the kit to try things on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calve.bundle import Bundle
from calve.exporting import try_export
from calve.tiny import make_tiny_model

__all__ = ["exported"]


@contextmanager
def exported(
    recipe: str, format_name: str, options: Mapping[str, Any] | None = None
) -> Iterator[Bundle]:
    """A bundle of a tiny random model, there for the ``with`` block.

    Args:
      recipe: Name of a registered recipe.
      format_name: Name of an export format, claimed or not.
      options: The format's options.
    """
    model = make_tiny_model(recipe)
    with tempfile.TemporaryDirectory(prefix="calve-conformance-") as folder:
        checkpoint, tokens = model.write(Path(folder))
        yield try_export(
            recipe,
            checkpoint=checkpoint,
            tokens=tokens,
            output=Path(folder) / "bundle",
            format=format_name,
            overrides=model.options,
            **(options or {}),
        )
