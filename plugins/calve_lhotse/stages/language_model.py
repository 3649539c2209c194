"""Stage ``lm``: an n-gram language model in ARPA form, given or trained on the transcripts."""

from __future__ import annotations

import gzip
import shutil
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from calve.api import DataError
from calve.common.children import Child, run_children
from calve.common.files import file_sha256
from calve.common.progress import Progress, tracked
from calve_lhotse.corpus import Corpus
from calve_lhotse.stages.transcripts import training_stamps, training_transcripts
from calve_lhotse.stamps import stamped

if TYPE_CHECKING:
    from calve_lhotse.stages.options import PreparationOptions

__all__ = ["arpa_path", "arpa_words", "lm"]

_FOLDER = "lm"
_TIME_LIMIT = 24 * 3600.0
_NO_WORDS = frozenset({"<s>", "</s>", "<unk>", "<UNK>"})


def arpa_path(data_dir: Path) -> Path:
    """The language model that stage ``lm`` left."""
    return data_dir / _FOLDER / "lm.arpa"


def lm(options: PreparationOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``lm/lm.arpa``."""
    if options.lm is not None:
        return _given(options, options.lm)
    corpus = Corpus.read(options.data_dir)
    key = {
        "transcripts": training_stamps(options.data_dir, corpus),
        "order": options.ngram_order,
    }
    with stamped(options.data_dir / _FOLDER, key) as output:
        if output.is_new:
            with tracked(progress, "training a language model on the transcripts"):
                text = output.folder / "transcripts.txt"
                lines = training_transcripts(options.data_dir, corpus)
                text.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
                _train(text, output.folder / "lm.arpa", options.ngram_order)
            output.report.update(trained_on=f"{len(lines)} transcripts", order=options.ngram_order)
    return output.report


def _given(options: PreparationOptions, arpa: Path) -> Mapping[str, object]:
    if not arpa.is_file():
        raise DataError(
            "the language model does not exist",
            where=arpa,
            fix="give an ARPA file to --lm; LibriSpeech's are at https://www.openslr.org/11",
        )
    key = {"arpa": arpa.absolute(), "sha256": file_sha256(arpa)}
    with stamped(options.data_dir / _FOLDER, key) as output:
        if output.is_new:
            copied = output.folder / "lm.arpa"
            try:
                opened = gzip.open if arpa.suffix == ".gz" else open
                with opened(arpa, "rb") as source, copied.open("wb") as target:
                    shutil.copyfileobj(source, target)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise DataError(
                    f"the language model is damaged: {error}", where=arpa, fix="fetch it again"
                ) from error
            output.report.update(given=str(arpa), words=len(_checked_words(copied, arpa)))
    return output.report


def _train(text: Path, arpa: Path, order: int) -> None:
    """Kneser-Ney smoothing by kaldingram, in a process of its own: it may take much memory."""
    module = (sys.executable, "-m", "kaldingram.cli", "train")
    arguments = (f"--ngram-order={order}", f"--text={text.name}", f"--lm={arpa.name}")
    # Its bars would fill the log, whose end is shown if it fails.
    command = ("env", "TQDM_DISABLE=1", *module, *arguments)
    child = Child("kaldingram", command, text.parent, _TIME_LIMIT)
    (outcome,) = run_children([child])
    if outcome.failure or not arpa.is_file():
        raise DataError(
            f"cannot train a language model on the transcripts: kaldingram "
            f"{outcome.failure or 'wrote nothing'}\n{outcome.tail}",
            fix="see what it said; or give a language model to --lm, or lower --ngram-order",
        )
    for path in text.parent.glob("kaldingram.*"):
        path.unlink()


def arpa_words(arpa: Path) -> list[str]:
    """The words of an ARPA file's unigrams, without those that are none.

    Raises:
      DataError: if it is no ARPA file.
    """
    return _checked_words(arpa, arpa)


def _checked_words(arpa: Path, where: Path) -> list[str]:
    words = [word for word in _unigrams(arpa) if word not in _NO_WORDS]
    if not words:
        raise DataError("this is not an ARPA language model: it has no words", where=where)
    return words


def _unigrams(arpa: Path) -> Iterator[str]:
    is_reading = False
    with arpa.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("\\"):
                if is_reading:
                    return
                is_reading = line.strip() == "\\1-grams:"
            elif is_reading and (fields := line.split())[1:]:
                yield fields[1]
