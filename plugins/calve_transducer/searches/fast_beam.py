"""Fast beam search: many alignments at once along the paths of a graph, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.api import ConfigError
from calve.data.text import normalized
from calve.data.tokens import SymbolTable
from calve.protocols import FsaBackend, Hypothesis, Session
from calve.services import load_driver
from calve_graphs.graph import DecodingGraph, trivial_graph
from calve_transducer.searches.contexts import ContextCache
from calve_transducer.searches.fast_beam_options import (
    FastBeamSearchLGOptions,
    FastBeamSearchOptions,
    NbestLGOptions,
    NbestOptions,
)
from calve_transducer.searches.frames import join_frames, not_a_number, refuse_nan
from calve_transducer.searches.frontier import BLANK_ARC
from calve_transducer.searches.lattice import Lattice, best_path
from calve_transducer.searches.nbest import (
    Nbest,
    closest,
    most_probable,
    most_probable_alignment,
)
from calve_transducer.searches.scores import log_probabilities

__all__ = [
    "FastBeamSearch",
    "FastBeamStream",
    "fast_beam_search",
    "fast_beam_search_LG",
    "fast_beam_search_nbest",
    "fast_beam_search_nbest_LG",
    "fast_beam_search_nbest_oracle",
]

Int64Array = NDArray[np.int64]
Float32Array = NDArray[np.float32]

FSA_BACKENDS = "calve.fsa_backends"

RefText = Sequence[int] | str | None
"""The reference of a stream, in tokens or as a text."""

Choose = Callable[[Lattice, DecodingGraph, RefText], "tuple[Int64Array, float] | None"]
"""Given a lattice and the reference, returns a path and its score; None if no path is complete."""


@dataclass
class FastBeamStream:
    """State of the search for one stream.

    Attributes:
      walking: Position of the stream in the graph, in the form of the FSA backend.
      ref_text: The reference, for oracle searches.
      frames: Number of encoder frames consumed.
    """

    walking: Any
    ref_text: RefText = None
    frames: int = 0


class FastBeamSearch:
    """icefall's ``fast_beam_search``, as a `calve.protocols.Search`.

    A stream is in several states at once; each is a pair of the latest symbols and a state of the
    graph. At every frame each state is extended by a blank or by an arc of the graph, and the best
    are kept. If several alignments meet in a state, its score is that of the best. The kept states
    form a lattice, and `result` takes one path of it.

    As in k2, the path must end with an arc into the graph's final state. This arc replaces the last
    frame, which emits nothing and whose score does not count.

    Args:
      session: The networks.
      options: See `FastBeamSearchOptions`.
      graph: The sentences that may be found.
      choose: Which path of a lattice is the result.

    Attributes:
      walker: The FSA backend, on the graph.
    """

    def __init__(
        self,
        session: Session,
        options: FastBeamSearchOptions,
        graph: DecodingGraph,
        choose: Choose,
    ) -> None:
        self._session = session
        self._options = options
        self._graph = graph
        self._choose = choose
        self._decode = ContextCache(session)
        self.walker: FsaBackend = _walker(session, options, graph)

    def start(self, ref_text: RefText = None) -> FastBeamStream:
        """Return the state of a new stream.

        Args:
          ref_text: The reference, which `fast_beam_search_nbest_oracle` needs.
        """
        return FastBeamStream(self.walker.start(), ref_text)

    def advance(
        self, streams: Sequence[FastBeamStream], encoder_out: Sequence[Float32Array]
    ) -> None:
        """Consume the next encoder frames (T', D) of each stream.

        Raises:
          DataError: if frames are missing or malformed, or a logit is NaN.
        """
        if not streams:
            return
        rows, lengths = join_frames(streams, encoder_out)
        starts = lengths.cumsum() - lengths
        # Check before any stream advances: some FSA backends cannot go back.
        refuse_nan(streams, encoder_out)
        walk = self.walker.walk([stream.walking for stream in streams])
        for step in range(lengths.max()):
            owners, contexts = walk.contexts(np.flatnonzero(step < lengths))
            log_probs = self._log_probs(rows[starts[owners] + step], contexts)
            if np.isnan(log_probs).any():
                owner = int(owners[np.isnan(log_probs).any(axis=1).argmax()])
                raise not_a_number(owner, streams[owner].frames + step)
            walk.advance(log_probs)
        walk.finish()
        for stream, length in zip(streams, lengths.tolist(), strict=True):
            stream.frames += length

    def result(self, stream: FastBeamStream) -> Hypothesis:
        """The hypothesis for all frames that the stream consumed so far; empty if none survived."""
        lattice = self._lattice(stream)
        chosen = self._choose(lattice, self._graph, stream.ref_text)
        if chosen is None:
            return Hypothesis()
        path, score = chosen
        return _hypothesis(self._graph, lattice.graph_arc[path], score)

    def last_timestamp(self, stream: FastBeamStream) -> int | None:
        """The frame of the last symbol of the best alignment; None if it has none.

        No path is sampled, even if `result` chooses among sampled paths.
        """
        lattice = self._lattice(stream)
        best = best_path(lattice)
        if best is None:
            return None
        frames = _frames_of_symbols(self._graph, lattice.graph_arc[best[0]])
        return int(frames[-1]) if len(frames) else None

    def _lattice(self, stream: FastBeamStream) -> Lattice:
        columns = self.walker.lattice(stream.walking, allow_partial=self._options.allow_partial)
        return Lattice(*columns)

    def _log_probs(self, frames: Float32Array, contexts: Int64Array) -> Float32Array:
        """Log probabilities (R, vocab_size) of the symbols after R contexts, each at its frame."""
        options = self._options
        decoder_out = self._decode(list(map(tuple, contexts.tolist())))
        scaled: dict[str, Any] = {
            "blank_id": self._session.blank_id,
            "blank_penalty": options.blank_penalty,
            "temperature": options.temperature,
        }
        log_probs = log_probabilities(self._session.join(frames, decoder_out), **scaled)
        if options.ilme_scale:
            logits = self._session.join(np.zeros_like(frames), decoder_out)
            log_probs -= options.ilme_scale * log_probabilities(logits, **scaled)
        return log_probs


def fast_beam_search(
    session: Session,
    options: FastBeamSearchOptions | None = None,
    *,
    symbols: SymbolTable | None = None,
    initial_symbol: int | None = None,
) -> FastBeamSearch:
    """The best alignment of any tokens.

    Args:
      session: The networks.
      options: See `FastBeamSearchOptions`.
      symbols: The symbol table; its ``<unk>`` is never emitted.
      initial_symbol: Ignored: as in icefall, the first context consists of blanks.
    """
    graph = _token_graph(session, symbols)
    return FastBeamSearch(session, options or FastBeamSearchOptions(), graph, _best)


def fast_beam_search_LG(  # noqa: N802 (the user's word)
    session: Session,
    options: FastBeamSearchLGOptions,
    *,
    symbols: SymbolTable | None = None,
    initial_symbol: int | None = None,
) -> FastBeamSearch:
    """The best alignment of words of a graph LG; otherwise like `fast_beam_search`.

    Raises:
      DataError: if the graph cannot be read, or was made for other tokens.
    """
    return FastBeamSearch(session, options, _word_graph(session, options, symbols), _best)


def _hypothesis(graph: DecodingGraph, arcs: NDArray[np.int32], score: float) -> Hypothesis:
    """Return the hypothesis of a path through the graph, one arc (or `BLANK_ARC`) per frame."""
    frames = _frames_of_symbols(graph, arcs)
    hypothesis = Hypothesis(graph.label[arcs[frames]].tolist(), frames.tolist(), score)
    if graph.words is None:
        return hypothesis
    splits, ids = graph.sayings()
    for frame in np.flatnonzero(arcs != BLANK_ARC).tolist():
        words = ids[splits[arcs[frame]] : splits[arcs[frame] + 1]].tolist()
        hypothesis.words += [graph.words[word] for word in words]
        hypothesis.word_timestamps += [frame] * len(words)
    return hypothesis


def _frames_of_symbols(graph: DecodingGraph, arcs: NDArray[np.int32]) -> Int64Array:
    """Return the frames at which a path, one arc (or `BLANK_ARC`) per frame, emits symbols."""
    return np.flatnonzero((arcs != BLANK_ARC) & (graph.label[arcs] > 0))


def fast_beam_search_nbest(
    session: Session,
    options: NbestOptions | None = None,
    *,
    symbols: SymbolTable | None = None,
    initial_symbol: int | None = None,
) -> FastBeamSearch:
    """The sampled token sequence with the best alignment; see `fast_beam_search`."""
    options = options or NbestOptions()
    choose = _from_nbest(options, lambda nbest, _: most_probable_alignment(nbest))
    return FastBeamSearch(session, options, _token_graph(session, symbols), choose)


def fast_beam_search_nbest_LG(  # noqa: N802 (the user's word)
    session: Session,
    options: NbestLGOptions,
    *,
    symbols: SymbolTable | None = None,
    initial_symbol: int | None = None,
) -> FastBeamSearch:
    """The sampled word sequence with the highest total probability of its alignments.

    Raises:
      DataError: if the graph cannot be read, or was made for other tokens.
    """
    choose = _from_nbest(options, lambda nbest, _: most_probable(nbest))
    return FastBeamSearch(session, options, _word_graph(session, options, symbols), choose)


def fast_beam_search_nbest_oracle(
    session: Session,
    options: NbestOptions | None = None,
    *,
    symbols: SymbolTable | None = None,
    initial_symbol: int | None = None,
) -> FastBeamSearch:
    """The sampled token sequence with the fewest errors, a lower bound for rescoring.

    ``start(ref_text=...)`` passes the reference of a stream. Errors are counted in tokens if it
    consists of tokens, as in icefall, and in words if it is a text. A text also needs ``symbols``.
    `result` raises a ConfigError if either is missing.
    """

    def pick(nbest: Nbest, ref_text: RefText) -> tuple[Int64Array, float] | None:
        if ref_text is None:
            raise ConfigError(
                "fast_beam_search_nbest_oracle needs a reference",
                fix="give ref_text to start",
            )
        if not isinstance(ref_text, str):
            return closest(nbest, ref_text, lambda sequence: sequence.tolist())
        if symbols is None:
            raise ConfigError("ref_text is a text, but no symbol table is given")
        return closest(
            nbest,
            normalized(ref_text).split(),
            lambda sequence: normalized(symbols.text(sequence)).split(),
        )

    options = options or NbestOptions()
    choose = _from_nbest(options, pick)
    return FastBeamSearch(session, options, _token_graph(session, symbols), choose)


def _best(
    lattice: Lattice, graph: DecodingGraph, ref_text: RefText
) -> tuple[Int64Array, float] | None:
    return best_path(lattice)


def _from_nbest(
    options: NbestOptions | NbestLGOptions,
    pick: Callable[[Nbest, RefText], tuple[Int64Array, float] | None],
) -> Choose:
    """Sample an n-best list from the lattice, from which ``pick`` chooses."""

    def choose(
        lattice: Lattice, graph: DecodingGraph, ref_text: RefText
    ) -> tuple[Int64Array, float] | None:
        drawn = Nbest(lattice, graph, num_paths=options.num_paths, nbest_scale=options.nbest_scale)
        return pick(drawn, ref_text)

    return choose


def _token_graph(session: Session, symbols: SymbolTable | None) -> DecodingGraph:
    unk_id = None if symbols is None else symbols.unk_id
    return trivial_graph(session.vocab_size, () if unk_id is None else (unk_id,))


def _word_graph(
    session: Session, options: FastBeamSearchLGOptions, symbols: SymbolTable | None
) -> DecodingGraph:
    where = None if isinstance(options.LG, DecodingGraph) else options.LG
    graph = options.LG if isinstance(options.LG, DecodingGraph) else DecodingGraph.read(options.LG)
    if symbols is not None:
        graph.check_tokens(symbols, where=where)
    graph.check_vocabulary(session.vocab_size, where=where)
    return graph.scaled(options.ngram_lm_scale)


def _walker(session: Session, options: FastBeamSearchOptions, graph: DecodingGraph) -> FsaBackend:
    if session.vocab_size**session.context_size * graph.num_states > np.iinfo(np.int64).max:
        raise ConfigError(
            f"the graph has too many states ({graph.num_states}) for {session.vocab_size} tokens "
            f"and a context of {session.context_size}",
            fix="take a smaller graph",
        )
    made: FsaBackend = load_driver(FSA_BACKENDS, options.fsa_backend)(
        graph.arc_splits,
        graph.destination,
        graph.label,
        graph.score,
        vocab_size=session.vocab_size,
        context_size=session.context_size,
        beam=options.beam,
        max_contexts=options.max_contexts,
        max_states=options.max_states,
    )
    return made
