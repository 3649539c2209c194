"""Decoding graphs as arrays, with reading and writing.

A graph is an acceptor of token sequences whose arcs may carry words. It follows k2's conventions:
state 0 is the start, the last state is the only final state, and arcs into it have the label -1.
Blanks are not part of the graph: a search may stay in any state on a blank.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.api import DataError, TokensError
from calve.common.arrays import ArraySpec, read_arrays
from calve.common.files import atomic_file
from calve.common.inputs import check_not_placeholder
from calve.data.tokens import SymbolTable

__all__ = ["FINAL_LABEL", "DecodingGraph", "tokens_fingerprint", "trivial_graph"]

FINAL_LABEL = -1
"""The label of arcs that enter the final state."""

_FORMAT = 1


@dataclass(frozen=True)
class DecodingGraph:
    """A graph with S states and A arcs. The arcs of a state are adjacent.

    Attributes:
      arc_splits: (S + 1,) int32; the arcs of state s are ``arc_splits[s] : arc_splits[s + 1]``.
      destination: (A,) int32, states that the arcs lead to.
      label: (A,) int32, token ids, or `FINAL_LABEL`; sorted within each state.
      score: (A,) float32, log probabilities.
      word_splits: (A + 1,) int32; the words of arc a are ``word_ids[word_splits[a] : ...]``.
      word_ids: (number of words on arcs,) int32.
      words: Table of the words; None if the graph's output is its tokens.
      fingerprint: `tokens_fingerprint` of the token table of the labels; None if the graph accepts
        any token table with enough symbols.
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
        """Make a graph from arcs in any order; arcs of a state with equal labels keep their order.

        Args:
          source, destination, label, score: (A,) each; the highest state is the final one.
          arc_words: Word ids of each arc; None if no arc has any.
          words: Table of the word ids.
          tokens: Table of the labels.

        Raises:
          DataError: if there are no arcs.
        """
        if not len(source):
            raise DataError(
                "the graph has no arc: no sentence can be spelled",
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
        """The number of states, including the final one."""
        return len(self.arc_splits) - 1

    @property
    def num_arcs(self) -> int:
        """The number of arcs."""
        return len(self.label)

    def scaled(self, scale: float) -> DecodingGraph:
        """Return the same graph with scaled scores."""
        return replace(self, score=self.score * np.float32(scale))

    def sayings(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the output of the arcs: their words, or in a graph without words their tokens.

        Returns:
          splits (A + 1,) and ids; the output of arc a is ``ids[splits[a] : splits[a + 1]]``.
        """
        if self.words is not None:
            return self.word_splits, self.word_ids
        return _splits(self.label > 0), self.label[self.label > 0]

    def check_tokens(self, tokens: SymbolTable, *, where: object = None) -> None:
        """Reject a model whose tokens differ from those of the graph.

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
        """Reject a model that scores too few tokens.

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
        """Write an ``.npz`` file atomically."""
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
        """Read a file that `write` wrote.

        Raises:
          DataError: if the file is missing, damaged or of another kind.
        """
        try:
            version = read_arrays(path, _VERSION, max_bytes=_MAX_BYTES)["format"]
            if version != _FORMAT:
                raise DataError(
                    "the graph was written by another version of calve",
                    where=path,
                    fix="compile LG again",
                )
            found = read_arrays(path, _FILE, max_bytes=_MAX_BYTES)
            text = found["words"].tobytes().decode()
            graph = cls(
                **{name: found[name] for name in _ARRAYS},
                words=SymbolTable(tuple(text.split("\n"))) if text else None,
                fingerprint=str(found["fingerprint"]) or None,
            )
            graph._check()
            return graph
        except FileNotFoundError as error:
            check_not_placeholder(Path(path), "decoding graph", DataError)
            raise DataError(
                "the graph does not exist",
                where=path,
                fix="compile it: `calve prepare` writes LG.npz beside the corpus's tokens.txt",
            ) from error
        except (OSError, ValueError, TokensError) as error:
            check_not_placeholder(Path(path), "decoding graph", DataError)
            raise DataError(
                f"this is no decoding graph, or it is damaged: {error}",
                where=path,
                fix="give an LG.npz that calve wrote",
            ) from error

    def _check(self) -> None:
        """Check that the arrays form a graph; a walk through them checks no bounds.

        Raises:
          ValueError: if they are not.
        """
        arcs, final = self.num_arcs, self.num_states - 1
        words = len(self.words) if self.words is not None else 0
        first_words = self.word_splits[:-1]
        facts = {
            "arcs belong to states": _is_splits(self.arc_splits, arcs),
            "arrays of arcs are equally long": len(self.destination) == len(self.score) == arcs,
            "arcs lead to states": _is_within(self.destination, 0, final),
            "labels are tokens": _is_within(self.label, FINAL_LABEL, None)
            and (self.label != 0).all(),
            "scores are numbers": np.isfinite(self.score).all(),
            "words belong to arcs": len(first_words) == arcs
            and _is_splits(self.word_splits, len(self.word_ids)),
            "words are in their table": _is_within(self.word_ids, 0, words - 1),
        }
        for fact, holds in facts.items():
            if not holds:
                raise ValueError(f"not all {fact}")
        if not np.array_equal(self.label == FINAL_LABEL, self.destination == final):
            raise ValueError("not all arcs to the last state are final")


_MAX_BYTES = 16 << 30
_VERSION = {"format": ArraySpec("int64", 0)}
_ARRAYS = {
    "arc_splits": ArraySpec("int32", 1),
    "destination": ArraySpec("int32", 1),
    "label": ArraySpec("int32", 1),
    "score": ArraySpec("float32", 1),
    "word_splits": ArraySpec("int32", 1),
    "word_ids": ArraySpec("int32", 1),
}
_FILE = {
    **_ARRAYS,
    "fingerprint": ArraySpec("U", 0),
    "words": ArraySpec("uint8", 1),
}


def trivial_graph(vocab_size: int, without: Sequence[int] = ()) -> DecodingGraph:
    """Make the graph that accepts all sequences of tokens, except some tokens, at no cost.

    Args:
      vocab_size: Tokens are 1 to ``vocab_size - 1``.
      without: Excluded tokens.
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


def _is_splits(splits: NDArray[np.int32], end: int) -> bool:
    """Whether the numbers are offsets that begin at 0, never fall, and end at ``end``."""
    return (
        len(splits) > 1
        and splits[0] == 0
        and splits[-1] == end
        and bool((splits[1:] >= splits[:-1]).all())
    )


def _is_within(values: NDArray[np.int32], lowest: int, highest: int | None) -> bool:
    if not len(values):
        return True
    return values.min() >= lowest and (highest is None or values.max() <= highest)


def _splits(counts: NDArray[Any]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
