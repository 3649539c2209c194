"""Utterances that no transducer of icefall's kind can be trained on."""

from __future__ import annotations

from collections.abc import Callable

from lhotse.cut import Cut
from sentencepiece import SentencePieceProcessor

from calve.common.printable import one_line
from calve.common.terminal import print_to_stderr
from calve.data.features import FeatureConfig

__all__ = ["Fitness", "text_of"]

_MOST_NAMES = 5


class Fitness:
    """Tells which utterances are long enough for their symbols, and remembers the others.

    The rule is that of icefall's recipes: the subsampling network turns T feature frames into
    ``((T - 7) // 2 + 1) // 2`` frames, and a pruned transducer needs as many of them as an
    utterance has symbols, and at least one. Training calls `report` once an epoch has ended.

    Args:
      subwords: Turns transcripts into symbols.
      report: Receives the line about what was left out.
    """

    def __init__(
        self, subwords: SentencePieceProcessor, report: Callable[[str], None] = print_to_stderr
    ) -> None:
        self._subwords = subwords
        self._write = report
        self._left_out: dict[str, None] = {}
        self._reported = 0

    def __call__(self, cut: Cut) -> bool:
        """Whether a cut can be trained on; one that cannot is remembered for `report`."""
        symbols = len(self._subwords.encode([text_of(cut)])[0])
        fits = _encoder_frames(cut) >= max(symbols, 1)
        if not fits:
            self._left_out.setdefault(cut.id)
        return fits

    def report(self) -> None:
        """Say in one line which utterances have been left out, if there are new ones."""
        names = list(self._left_out)
        if len(names) == self._reported:
            return
        self._reported = len(names)
        shown = ", ".join(map(one_line, names[:_MOST_NAMES]))
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        self._write(
            f"Warning: {len(names)} utterances are left out: they are too short for the encoder or "
            f"for the number of their symbols: {shown}{more}"
        )


def text_of(cut: Cut) -> str:
    """The transcript of a cut: those of its supervisions, joined."""
    return " ".join(supervision.text for supervision in cut.supervisions)


def _encoder_frames(cut: Cut) -> int:
    frames = round(float(cut.duration) * 1000 / FeatureConfig().frame_shift_ms)
    return ((frames - 7) // 2 + 1) // 2
