"""Stage ``validate``: what was prepared is whole, and no split knows another's recordings."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

from lhotse import CutSet, qa

from calve.api import DataError
from calve.tokens import SymbolTable
from calve_lhotse.fsdd.cuts import load_cuts
from calve_lhotse.fsdd.recordings import SPLITS
from calve_lhotse.stamps import stamp_of
from calve_lhotse.subwords import MODEL_NAME, TOKENS_NAME, load_subwords

if TYPE_CHECKING:
    from calve.protocols import Progress
    from calve_lhotse.fsdd.options import FsddOptions

__all__ = ["validate"]

_CUTS_READ_PER_SPLIT = 20


def validate(options: FsddOptions, progress: Progress) -> Mapping[str, object]:
    """Check the prepared corpus; nothing is written.

    Raises:
      DataError: for the first thing that is wrong.
    """
    stamp_of(options.data_dir / "fbank", "features")
    stamp_of(options.data_dir / "lang", "lang")
    progress.start("validating", len(SPLITS))
    splits = {}
    for split in SPLITS:
        splits[split] = load_cuts(options.data_dir, split)
        _check_cuts(split, splits[split])
        progress.advance()
    _check_disjoint(splits, options.held_out_speaker)
    _check_symbols(options, splits)
    progress.finish()
    return {"speakers": {split: len(_speakers(cuts)) for split, cuts in splits.items()}}


def _check_cuts(split: str, cuts: CutSet) -> None:
    """All manifests agree with themselves, and some of them with the files."""
    step = max(1, len(cuts) // _CUTS_READ_PER_SPLIT)
    try:
        for index, cut in enumerate(cuts):
            qa.validate(cut, read_data=index % step == 0)
    except (AssertionError, OSError, ValueError) as error:
        raise DataError(
            f"the {split} split is damaged: {error}",
            where=cut.id,
            fix="remove the data directory and prepare again",
        ) from error


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


def _check_symbols(options: FsddOptions, splits: Mapping[str, CutSet]) -> None:
    """No transcript needs the unknown symbol, which sherpa-ncnn drops silently."""
    lang = options.data_dir / "lang"
    subwords, symbols = load_subwords(lang / MODEL_NAME), SymbolTable.read(lang / TOKENS_NAME)
    if len(subwords) != len(symbols) or symbols.unk_id != subwords.unk_id():
        raise DataError("the sentencepiece model and tokens.txt do not belong together", where=lang)
    transcripts = {cut.supervisions[0].text for cuts in splits.values() for cut in cuts}
    unknown = [text for text in transcripts if symbols.unk_id in subwords.encode(text)]
    if unknown:
        raise DataError(
            f"no symbols spell {unknown[0]!r}", where=lang, fix="choose a larger --vocab-size"
        )


def _recordings(cuts: CutSet) -> set[str]:
    """Everything heard in a split, background voices included."""
    heard = (cut.supervisions[0].custom for cut in cuts)
    return {name for custom in heard for name in (*custom["pieces"], *custom["babble"])}


def _speakers(cuts: CutSet) -> set[str]:
    return {cut.supervisions[0].speaker for cut in cuts}
