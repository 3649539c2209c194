"""Stages ``lang`` and ``graphs``: BPE models, lexicons and decoding graphs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from calve.api import DataError
from calve.common.progress import Progress, tracked
from calve_graphs.preparation import prepare_graph, prepare_lang
from calve_lhotse.corpus import Corpus
from calve_lhotse.stages.language_model import arpa_path, arpa_words
from calve_lhotse.stages.transcripts import training_stamps, training_transcripts
from calve_lhotse.stamps import StageOutput, added, stamp_of, stamped
from calve_lhotse.subwords import MODEL_NAME, load_subwords, train_subwords

if TYPE_CHECKING:
    from calve_lhotse.stages.options import PreparationOptions

__all__ = ["graphs", "lang", "lang_folder", "write_lang"]


def lang_folder(data_dir: Path, vocab_size: int) -> Path:
    """Where the BPE model of a size lies, under icefall's name."""
    return data_dir / f"lang_bpe_{vocab_size}"


def lang(options: PreparationOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``lang_bpe_N/`` for every vocabulary size, and the link ``lang`` to the first."""
    corpus = Corpus.read(options.data_dir)
    report = {}
    for size in options.vocab_size:
        folder = lang_folder(options.data_dir, size)
        report[folder.name] = _lang_of(options, corpus, folder, size, progress)
    _point(options.data_dir / "lang", lang_folder(options.data_dir, options.vocab_size[0]))
    return report


def _lang_of(
    options: PreparationOptions, corpus: Corpus, folder: Path, size: int, progress: Progress
) -> Mapping[str, object]:
    key = {
        "transcripts": training_stamps(options.data_dir, corpus),
        "words": stamp_of(options.data_dir / "lm", "lm"),
        "vocab_size": size,
    }
    with stamped(folder, key) as output:
        if output.is_new:
            lines = training_transcripts(options.data_dir, corpus)
            write_lang(output, lines, size, progress, arpa_words(arpa_path(options.data_dir)))
    return output.report


def write_lang(
    output: StageOutput,
    transcripts: Sequence[str],
    vocab_size: int,
    progress: Progress,
    more_words: Iterable[str] = (),
) -> None:
    """Train a BPE model and write it, ``tokens.txt`` and the lexicon into a stage's output.

    Args:
      output: Where to write and report.
      transcripts: What the model is trained on; the lexicon has all of their words.
      vocab_size: Symbols of the model.
      progress: Shows that something happens.
      more_words: Further words of the lexicon.

    Raises:
      DataError: if such a model cannot be trained.
    """
    with tracked(progress, f"training {vocab_size} symbols"):
        symbols = train_subwords(transcripts, output.folder, vocab_size)
        words = {word for line in transcripts for word in line.split()} | set(more_words)
        unspellable = prepare_lang(output.folder, load_subwords(output.folder / MODEL_NAME), words)
    output.report.update(
        transcripts=len(transcripts), symbols=symbols, words=len(words) - len(unspellable)
    )
    if unspellable:
        output.report["words_without_spelling"] = len(unspellable)


def graphs(options: PreparationOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``G.fst.txt`` and ``LG.npz`` into every ``lang_bpe_N``."""
    report = {}
    for size in options.vocab_size:
        folder = lang_folder(options.data_dir, size)
        key = {
            "lang": stamp_of(folder, "lang"),
            "lm": stamp_of(options.data_dir / "lm", "lm"),
            "order": options.ngram_order,
        }
        with added(folder, "graphs", key) as output:
            if output.is_new:
                with tracked(progress, f"compiling G and LG for {size} symbols"):
                    arpa = arpa_path(options.data_dir)
                    graph = prepare_graph(folder, arpa, max_order=options.ngram_order)
                output.report.update(
                    order=options.ngram_order,
                    states=len(graph.arc_splits) - 1,
                    arcs=len(graph.label),
                )
        report[folder.name] = output.report
    return report


def _point(link: Path, folder: Path) -> None:
    """Let ``link`` lead to ``folder`` beside it, replacing an older link in one step.

    Raises:
      DataError: if a folder is there, as where the data were copied without their links.
    """
    if link.is_dir() and not link.is_symlink():
        raise DataError(
            "this is a folder; calve makes a link here",
            where=link,
            fix="remove it; links are kept by: cp -a, rsync -a, tar",
        )
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.symlink_to(folder.name)
    temporary.replace(link)
