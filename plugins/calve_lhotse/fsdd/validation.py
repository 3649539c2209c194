"""Stage ``validate``: checks that the data are complete and that no splits share recordings."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

from lhotse import CutSet

from calve.api import DataError
from calve.common.progress import Progress, tracked
from calve_lhotse.fsdd.cuts import load_cuts
from calve_lhotse.fsdd.recordings import SPLITS
from calve_lhotse.stages.validation import check_cuts, check_symbols
from calve_lhotse.stamps import stamp_of

if TYPE_CHECKING:
    from calve_lhotse.fsdd.options import FsddOptions

__all__ = ["validate"]

_CUTS_BETWEEN_READS = 50


def validate(options: FsddOptions, progress: Progress) -> Mapping[str, object]:
    """Check the prepared corpus; nothing is written.

    Raises:
      DataError: for the first thing that is wrong.
    """
    folder = options.data_dir / "fbank"
    stamp_of(folder, "features")
    with tracked(progress, "validating", len(SPLITS)):
        splits = {}
        for split in SPLITS:
            cuts = load_cuts(options.data_dir, split)
            check_cuts(split, cuts, folder, cuts_between_reads=_CUTS_BETWEEN_READS)
            splits[split] = cuts
            progress.advance()
        _check_disjoint(splits, options.held_out_speaker)
        spoken = {
            split: {cut.id: cut.supervisions[0].text for cut in cuts}
            for split, cuts in splits.items()
        }
        check_symbols(options.data_dir / "lang", spoken)
    return {"speakers": {split: len(_speakers(cuts)) for split, cuts in splits.items()}}


def _check_disjoint(splits: Mapping[str, CutSet], held_out_speaker: str) -> None:
    pieces = {split: _recordings(cuts) for split, cuts in splits.items()}
    for one, other in combinations(SPLITS, 2):
        shared = pieces[one] & pieces[other]
        if shared:
            raise DataError(f"{one} and {other} share the recording {min(shared)}")
    if _speakers(splits["heldout"]) != {held_out_speaker}:
        raise DataError(f"the heldout split is not of {held_out_speaker} alone")
    for split in ("train", "valid", "test"):
        if held_out_speaker in _speakers(splits[split]):
            raise DataError(f"{held_out_speaker} is heard in the {split} split")


def _recordings(cuts: CutSet) -> set[str]:
    """Everything heard in a split, background voices included."""
    heard = (cut.supervisions[0].custom for cut in cuts)
    return {name for custom in heard for name in (*custom["pieces"], *custom["babble"])}


def _speakers(cuts: CutSet) -> set[str]:
    return {cut.supervisions[0].speaker for cut in cuts}
