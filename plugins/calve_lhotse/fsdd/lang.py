"""Stage ``lang``: the BPE model, its symbols and the lexicon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lhotse import SupervisionSet

from calve_lhotse.stages.lang import write_lang
from calve_lhotse.stamps import stamp_of, stamped

if TYPE_CHECKING:
    from calve.common.progress import Progress
    from calve_lhotse.fsdd.options import FsddOptions

__all__ = ["lang"]


def lang(options: FsddOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``lang/``: ``bpe.model``, ``tokens.txt`` and the lexicon of the digits."""
    key = {
        "audio": stamp_of(options.data_dir / "audio", "utterances"),
        "vocab_size": options.vocab_size,
    }
    with stamped(options.data_dir / "lang", key) as output:
        if output.is_new:
            write_lang(output, _transcripts(options.data_dir), options.vocab_size, progress)
    return output.report


def _transcripts(data_dir: Path) -> list[str]:
    supervisions = SupervisionSet.from_file(data_dir / "audio" / "fsdd_supervisions_train.jsonl.gz")
    return [supervision.text for supervision in supervisions]
