"""Stage ``validate``: checks that the data are complete and that the symbols cover them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lhotse import qa
from lhotse.cut import Cut

from calve.api import DataError
from calve.common.progress import Progress, tracked
from calve.data.tokens import SymbolTable
from calve_lhotse.corpus import Corpus, cuts_path, load_parts
from calve_lhotse.reasons import reason
from calve_lhotse.stages.lang import lang_folder
from calve_lhotse.stages.transcripts import transcripts
from calve_lhotse.stamps import stamp_of
from calve_lhotse.subwords import MODEL_NAME, TOKENS_NAME, load_subwords

if TYPE_CHECKING:
    from calve_lhotse.stages.options import PreparationOptions

__all__ = ["check_cuts", "check_symbols", "validate"]

_CUTS_BETWEEN_READS = 500


def validate(options: PreparationOptions, progress: Progress) -> Mapping[str, object]:
    """Check the prepared corpus; nothing is written.

    Raises:
      DataError: for the first thing that is wrong.
    """
    corpus = Corpus.read(options.data_dir)
    spoken = {part: transcripts(options.data_dir, corpus, part) for part in corpus.parts}
    with tracked(progress, "validating", len(corpus.parts)):
        report = {}
        for part in corpus.parts:
            folder = cuts_path(options.data_dir, corpus, part).parent
            stamp_of(folder, "features")
            cuts = load_parts(
                options.data_dir, corpus, (part,), allow_commands=options.allow_commands
            )
            copies = 1 + len(options.speed_factors) if part in corpus.train else 1
            expected = len(spoken[part]) * copies
            count = check_cuts(part, cuts, folder, cuts_between_reads=_CUTS_BETWEEN_READS)
            if count != expected:
                raise DataError(
                    f"{part} has {count} cuts, but its transcripts call for {expected}",
                    fix="run stage `features` again, with the options that you validate with",
                )
            report[part] = {"cuts": count}
            progress.advance()
    for size in options.vocab_size:
        check_symbols(lang_folder(options.data_dir, size), spoken)
    return report


def check_cuts(part: str, cuts: Iterable[Cut], folder: Path, *, cuts_between_reads: int) -> int:
    """All cuts must agree with themselves, and some of them with the files.

    Args:
      part: What they are called, for messages.
      cuts: Read only once.
      folder: What stage ``features`` wrote.
      cuts_between_reads: Of so many cuts, the features and the audio of one are read.

    Returns:
      How many there are.

    Raises:
      DataError: for the first cut that is wrong; names it.
    """
    count, cut = 0, None
    try:
        for count, cut in enumerate(cuts, start=1):
            qa.validate(cut, read_data=(count - 1) % cuts_between_reads == 0)
            if len(cut.supervisions) != 1:
                raise ValueError(f"it has {len(cut.supervisions)} supervisions")
    except Exception as error:
        # Whatever is wrong with a file or a manifest, lhotse's readers say it in their own way.
        raise DataError(
            f"{part} is damaged after {max(count - 1, 0)} cuts: {reason(error)}",
            where=cut.id if cut is not None else None,
            fix=f"remove {folder}, and run stage `features` again",
        ) from error
    return count


def check_symbols(folder: Path, spoken: Mapping[str, Mapping[str, str]]) -> None:
    """No transcript may need the unknown symbol, which sherpa-ncnn drops silently.

    Args:
      folder: What stage ``lang`` wrote.
      spoken: For each part, the transcripts by the utterances' names.

    Raises:
      DataError: if one does, or the BPE model and ``tokens.txt`` differ.
    """
    stamp_of(folder, "lang")
    subwords, symbols = load_subwords(folder / MODEL_NAME), SymbolTable.read(folder / TOKENS_NAME)
    if len(subwords) != len(symbols) or symbols.unk_id != subwords.unk_id():
        raise DataError("the BPE model and tokens.txt do not belong together", where=folder)
    unknown = subwords.unk_id()
    for part, texts in spoken.items():
        for name, text in texts.items():
            if unknown in subwords.encode(text):
                letters = {letter for letter in text if unknown in subwords.encode(letter)}
                raise DataError(
                    f"the BPE model does not know {', '.join(map(repr, sorted(letters)))} in "
                    f"{text[:60]!r}",
                    where=f"{part}, utterance {name}",
                    fix="write all transcripts with the letters of the training data",
                )
