"""Stage ``lang``: the sentencepiece model and the symbol table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lhotse import SupervisionSet

from calve_lhotse.stamps import stamp_of, stamped
from calve_lhotse.subwords import train_subwords

if TYPE_CHECKING:
    from calve.protocols import Progress
    from calve_lhotse.fsdd.options import FsddOptions

__all__ = ["lang"]


def lang(options: FsddOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``lang/{transcripts.txt,bpe.model,tokens.txt}``."""
    key = {
        "audio": stamp_of(options.data_dir / "audio", "utterances"),
        "vocab_size": options.vocab_size,
    }
    with stamped(options.data_dir / "lang", key) as output:
        if output.is_new:
            progress.start("training the sentencepiece model")
            transcripts = _transcripts(options.data_dir)
            (output.folder / "transcripts.txt").write_text("".join(f"{t}\n" for t in transcripts))
            pieces = train_subwords(transcripts, output.folder, options.vocab_size)
            progress.finish()
            output.report.update(transcripts=len(transcripts), symbols=pieces)
    return output.report


def _transcripts(data_dir: Path) -> list[str]:
    supervisions = SupervisionSet.from_file(data_dir / "audio" / "fsdd_supervisions_train.jsonl.gz")
    return [supervision.text for supervision in supervisions]
