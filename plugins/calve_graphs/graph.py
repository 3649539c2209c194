"""Decoding graphs as arrays, and how they are kept on disk.

A graph is an acceptor of token sequences whose arcs may also say words. It follows k2's
conventions: state 0 is the start, the last state is the only final one, and it is entered by arcs
with label -1. Blanks are not part of it: a search may stay in any state on a blank.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.api import DataError
from calve.common.files import atomic_file
from calve.data.tokens import SymbolTable

__all__ = ["FINAL_LABEL", "DecodingGraph", "tokens_fingerprint", "trivial_graph"]

FINAL_LABEL = -1
"""The label of arcs that enter the final state."""

_FORMAT = 1


@dataclass(frozen=True)
class DecodingGraph:
    """A graph with S states and A arcs, the arcs of one state next to one another.

    Attributes:
      arc_splits: (S + 1,) int32; the arcs of state s are ``arc_splits[s] : arc_splits[s + 1]``.
      destination: (A,) int32, states that the arcs lead to.
      label: (A,) int32, token ids, or `FINAL_LABEL`; sorted within each state.
      score: (A,) float32, log probabilities.
      word_splits: (A + 1,) int32; the words of arc a are ``word_ids[word_splits[a] : ...]``.
      word_ids: (number of words on arcs,) int32.
      words: The words' table; None if the graph's output is its tokens.
      fingerprint: `tokens_fingerprint` of the tokens that the labels count; None if any token
        table with enough symbols will do.
    """

    arc_splits: NDArray[np.int32]
    destination: NDArray[np.int32]
    label: NDArray[np.int32]
    score: NDArray[np.float32]
    word_splits: NDArray[np.int32]
    word_ids: NDArray[np.int32]
    words: SymbolTable | None = None
    fingerprint: str | None = None

    @classmethod
    def from_arcs(
        cls,
        source: NDArray[Any],
        destination: NDArray[Any],
        label: NDArray[Any],
        score: NDArray[Any],
        arc_words: Sequence[Sequence[int]] | None = None,
        *,
        words: SymbolTable | None = None,
        tokens: SymbolTable | None = None,
    ) -> DecodingGraph:
        """A graph of arcs in any order; those of one state keep their order among equal labels.

        Args:
          source, destination, label, score: (A,) each; the highest state is the final one.
          arc_words: Word ids that each arc says; None if no arc says any.
          words: Table of the word ids.
          tokens: Table of the labels.

        Raises:
          DataError: if there is no arc.
        """
        if not len(source):
            raise DataError(
                "the graph has no arc: no sentence can be spelt",
                fix="check that the lexicon and the ARPA file share words",
            )
        order = np.lexsort((np.asarray(label).astype(np.uint32), source))
        num_states = int(max(np.max(source), np.max(destination))) + 1
        said = (
            [tuple(arc_words[arc]) for arc in order] if arc_words is not None else [()] * len(order)
        )
        return cls(
            arc_splits=_splits(np.bincount(np.asarray(source)[order], minlength=num_states)),
            destination=np.asarray(destination)[order].astype(np.int32),
            label=np.asarray(label)[order].astype(np.int32),
            score=np.asarray(score)[order].astype(np.float32),
            word_splits=_splits(np.fromiter(map(len, said), dtype=np.int64, count=len(said))),
            word_ids=np.array([word for arc in said for word in arc], dtype=np.int32),
            words=words,
            fingerprint=None if tokens is None else tokens_fingerprint(tokens),
        )

    @property
    def num_states(self) -> int:
        """The number of states, the final one included."""
        return len(self.arc_splits) - 1

    @property
    def num_arcs(self) -> int:
        """The number of arcs."""
        return len(self.label)

    def scaled(self, scale: float) -> DecodingGraph:
        """The same graph with its scores multiplied."""
        return replace(self, score=self.score * np.float32(scale))

    def sayings(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """What the arcs say: their words, or in a graph that knows none their tokens.

        Returns:
          splits (A + 1,) and ids; arc a says ``ids[splits[a] : splits[a + 1]]``.
        """
        if self.words is not None:
            return self.word_splits, self.word_ids
        return _splits(self.label > 0), self.label[self.label > 0]

    def check_tokens(self, tokens: SymbolTable, *, where: object = None) -> None:
        """Refuse a model with other tokens than those that the graph was made for.

        Raises:
          DataError: if the token tables differ.
        """
        if self.fingerprint not in (None, tokens_fingerprint(tokens)):
            raise DataError(
                "the graph was made for another token table than the model's",
                where=where,
                fix="compile LG again, with the tokens.txt and bpe.model of this model",
            )
        self.check_vocabulary(len(tokens), where=where)

    def check_vocabulary(self, vocab_size: int, *, where: object = None) -> None:
        """Refuse a model that scores too few tokens.

        Raises:
          DataError: if an arc has a token that the model does not score.
        """
        if self.num_arcs and (highest := int(self.label.max())) >= vocab_size:
            raise DataError(
                f"the graph has token {highest}, but the model scores {vocab_size} tokens",
                where=where,
                fix="compile LG with the tokens.txt and bpe.model of this model",
            )

    def write(self, path: str | PathLike[str]) -> None:
        """Write an ``.npz`` file, whole or not at all."""
        text = "\n".join(self.words.symbols) if self.words is not None else ""
        with atomic_file(Path(path)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                format=np.int64(_FORMAT),
                fingerprint=np.array(self.fingerprint or ""),
                words=np.frombuffer(text.encode(), dtype=np.uint8),
                **{name: getattr(self, name) for name in _ARRAYS},
            )

    @classmethod
    def read(cls, path: str | PathLike[str]) -> DecodingGraph:
        """Read what `write` wrote.

        Raises:
          DataError: if the file is missing, damaged or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                if int(file["format"]) != _FORMAT:
                    raise DataError(
                        "the graph was written by another version of calve",
                        where=path,
                        fix="compile LG again",
                    )
                text = file["words"].tobytes().decode()
                return cls(
                    **{name: file[name] for name in _ARRAYS},
                    words=SymbolTable(tuple(text.split("\n"))) if text else None,
                    fingerprint=str(file["fingerprint"]) or None,
                )
        except FileNotFoundError as error:
            raise DataError(
                "the graph does not exist",
                where=path,
                fix="compile it: `calve prepare` writes LG.npz beside the corpus's tokens.txt",
            ) from error
        except (OSError, EOFError, ValueError, KeyError, TypeError, *_DAMAGED) as error:
            raise DataError(
                "this is no decoding graph, or it is damaged",
                where=path,
                fix="give an LG.npz that calve wrote",
            ) from error


_DAMAGED = (zipfile.BadZipFile, zlib.error)
_ARRAYS = ("arc_splits", "destination", "label", "score", "word_splits", "word_ids")


def trivial_graph(vocab_size: int, without: Sequence[int] = ()) -> DecodingGraph:
    """The graph that accepts every sequence of tokens at no cost, the blank and some others apart.

    Args:
      vocab_size: Tokens are 1 to ``vocab_size - 1``.
      without: Tokens that no sequence has.
    """
    tokens = [token for token in range(1, vocab_size) if token not in without]
    labels = np.array([*tokens, FINAL_LABEL])
    zeros = np.zeros_like(labels)
    return DecodingGraph.from_arcs(zeros, labels == FINAL_LABEL, labels, zeros)


def tokens_fingerprint(tokens: SymbolTable) -> str:
    """SHA-256 of a token table; appended disambiguation symbols (``#0``, ...) do not count."""
    symbols = list(tokens.symbols)
    while symbols[-1].startswith("#") and symbols[-1][1:].isdecimal():
        symbols.pop()
    return hashlib.sha256("\n".join(symbols).encode()).hexdigest()


def _splits(counts: NDArray[Any]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
