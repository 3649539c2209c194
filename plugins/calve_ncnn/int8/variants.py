"""Variants of a bundle: some layers int8, the others fp16."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from calve.bundles.bundle import TOKENS_FILE, write_manifest
from calve.protocols.bundles import OpenedBundle
from calve_ncnn.int8.plan import NetworkPlan
from calve_ncnn.int8.quantize import write_network
from calve_ncnn.layout import NETWORKS, bin_path, param_path

__all__ = ["all_fp16", "weights_size", "write_networks", "write_variant"]


def all_fp16(plans: Iterable[NetworkPlan]) -> list[NetworkPlan]:
    """The same networks with nothing quantized."""
    return [plan.without(plan.int8, "not quantized") for plan in plans]


def write_networks(plans: Iterable[NetworkPlan], folder: Path) -> None:
    """Write the planned networks under a bundle's file names."""
    for plan in plans:
        name = plan.network.name
        write_network(
            plan.network, plan.table, plan.int8, param_path(folder, name), bin_path(folder, name)
        )


def write_variant(
    source: OpenedBundle,
    plans: Sequence[NetworkPlan],
    folder: Path,
    *,
    linked: Collection[str] = (),
    base: Path | None = None,
) -> Path:
    """Make a bundle of the planned networks to be run and thrown away.

    Args:
      source: The bundle that the plans are about.
      plans: What to write.
      folder: Where.
      linked: Networks to take from ``base`` as they are.
      base: Another variant.
    """
    folder.mkdir()
    write_networks([plan for plan in plans if plan.network.name not in linked], folder)
    if base is not None:
        for name in linked:
            for path in (param_path(folder, name), bin_path(folder, name)):
                _share(base / path.name, path)
    shutil.copy(source.path / TOKENS_FILE, folder / TOKENS_FILE)
    write_manifest(folder, replace(source.manifest, files={}))
    return folder


def weights_size(folder: Path) -> int:
    """Bytes of a bundle's weights."""
    return sum(bin_path(folder, name).stat().st_size for name in NETWORKS)


def _share(source: Path, target: Path) -> None:
    """A file of another bundle: a second name where the file system has them, else a copy."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
