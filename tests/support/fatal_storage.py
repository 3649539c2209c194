"""A storage of features whose writer is killed in the middle of a shard."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from calve.common.files import atomic_file
from calve_lhotse.stages.storage import Archives, FeatureShard

__all__ = ["FatalArchives"]

FATAL_SHARD = 2


@dataclass(frozen=True)
class FatalArchives(Archives):
    """The first process that comes to one shard is killed while it writes."""

    def write(self, shard: FeatureShard) -> None:
        """As `Archives.write`, if the process lives."""
        mark = self._mark
        if shard.number == FATAL_SHARD and not mark.exists():
            mark.write_text(str(os.getpid()))
            with atomic_file(self.folder / "feats-half.lca") as temporary:
                temporary.write_bytes(b"half of an archive")
                os.kill(os.getpid(), signal.SIGKILL)
        super().write(shard)

    @property
    def _mark(self) -> Path:
        return self.folder.parents[2] / "killed"
