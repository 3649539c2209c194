"""Stage ``validate``: what was prepared is whole, and its symbols spell all that is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lhotse import qa

from calve.api import DataError
from calve.discovery import describe
from calve.tokens import SymbolTable
from calve_lhotse.corpus import Corpus, cuts_path, load_parts
from calve_lhotse.stages.lang import lang_folder
from calve_lhotse.stages.transcripts import transcripts
from calve_lhotse.stamps import stamp_of
from calve_lhotse.subwords import MODEL_NAME, TOKENS_NAME, load_subwords

if TYPE_CHECKING:
    from calve.protocols import Progress
    from calve_lhotse.stages.options import PreparationOptions

__all__ = ["validate"]

_CUTS_BETWEEN_READS = 500


def validate(options: PreparationOptions, progress: Progress) -> Mapping[str, object]:
    """Check the prepared corpus; nothing is written.

    Raises:
      DataError: for the first thing that is wrong.
    """
    corpus = Corpus.read(options.data_dir)
    spoken = {part: transcripts(options.data_dir, corpus, part) for part in corpus.parts}
    progress.start("validating", len(corpus.parts))
    report = {}
    for part in corpus.parts:
        copies = 1 + len(options.speed_factors) if part in corpus.train else 1
        report[part] = _check_cuts(options, corpus, part, len(spoken[part]) * copies)
        progress.advance()
    progress.finish()
    for size in options.vocab_size:
        _check_symbols(options, size, spoken)
    return report


def _check_cuts(
    options: PreparationOptions, corpus: Corpus, part: str, expected: int
) -> Mapping[str, object]:
    """All cuts agree with themselves, some of them with the files, and none is missing."""
    stamp_of(cuts_path(options.data_dir, corpus, part).parent, "features")
    count, cut = 0, None
    try:
        for count, cut in enumerate(load_parts(options.data_dir, corpus, (part,)), start=1):
            qa.validate(cut, read_data=count % _CUTS_BETWEEN_READS == 1)
            if len(cut.supervisions) != 1:
                raise ValueError(f"it has {len(cut.supervisions)} supervisions")
    except Exception as error:
        # Whatever is wrong with a file or a manifest, lhotse's readers say it in their own way.
        raise DataError(
            f"{part} is damaged after {max(count - 1, 0)} cuts: {describe(error)}",
            where=cut.id if cut is not None else None,
            fix=f"remove {cuts_path(options.data_dir, corpus, part).parent}, and run stage "
            "`features` again",
        ) from error
    if count != expected:
        raise DataError(
            f"{part} has {count} cuts, but its transcripts call for {expected}",
            fix="run stage `features` again, with the options that you validate with",
        )
    return {"cuts": count}


def _check_symbols(
    options: PreparationOptions, size: int, spoken: Mapping[str, Mapping[str, str]]
) -> None:
    """No transcript needs the unknown symbol, which sherpa-ncnn drops silently."""
    folder = lang_folder(options.data_dir, size)
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
