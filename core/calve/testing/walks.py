"""A small decoding graph, and its paths by the definition of `calve.protocols.FsaBackend`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calve.protocols import LatticeColumns

__all__ = [
    "BLANK_ARC",
    "COLUMNS",
    "CONTEXT_SIZE",
    "VOCAB_SIZE",
    "Babble",
    "Paths",
    "walked",
]

BLANK_ARC = -1
"""Stands for the arc of the blank, which is not part of the graph."""

VOCAB_SIZE = 4
CONTEXT_SIZE = 2
COLUMNS = (
    np.array([0, 4, 7, 9, 9], np.int32),
    np.array([1, 0, 2, 3, 0, 2, 3, 1, 2], np.int32),
    np.array([1, 2, 3, -1, 0, 2, -1, 1, 3], np.int32),
    np.array([-0.3, -0.7, -0.1, -0.9, -0.2, -0.5, -0.4, -0.6, -0.2], np.float32),
)
"""arc_splits, destination, label and score. The graph cannot end in state 2."""

_FINAL_STATE = len(COLUMNS[0]) - 2

Context = tuple[int, ...]
State = tuple[Context, int]
"""A context, and a state of the graph."""


class Babble:
    """Random log probabilities that depend on the frame and the context."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def log_probs(self, frame: int, context: Context) -> NDArray[np.float32]:
        """(vocab_size,)"""
        logits = 2 * np.random.default_rng((self._seed, frame, *context)).normal(size=VOCAB_SIZE)
        log_probs: NDArray[np.float32] = (logits - np.logaddexp.reduce(logits)).astype(np.float32)
        return log_probs


class Paths(dict[tuple[int, ...], float]):
    """The score of each path; a path is a sequence of arcs of the graph."""

    @classmethod
    def of(cls, lattice: LatticeColumns) -> Paths:
        """All paths from the first to the last state of a lattice."""
        source, destination, graph_arc, score, num_states = lattice
        paths = [cls() for _ in range(num_states or 1)]
        paths[0].update({(): 0.0} if num_states else {})
        for arc in np.argsort(source, kind="stable").tolist():
            paths[destination[arc]].prolong(paths[source[arc]], int(graph_arc[arc]), score[arc])
        return paths[-1]

    def prolong(self, others: Paths, arc: int, score: float) -> None:
        """Take over other paths, each longer by an arc."""
        self.update({(*path, arc): total + float(score) for path, total in others.items()})


class _Step(NamedTuple):
    """An arc that a stream takes in a frame, and what it adds to the score."""

    source: State
    arc: int
    destination: State
    score: float


def walked(
    said: Babble,
    frames: int,
    *,
    beam: float,
    max_contexts: int,
    max_states: int,
    allow_partial: bool,
) -> Paths:
    """All paths that survive."""
    scores: dict[State, float] = {((0,) * CONTEXT_SIZE, 0): 0.0}
    before, paths = {}, {state: Paths({(): 0.0}) for state in scores}
    steps: list[_Step] = []
    for frame in range(frames):
        floor = max(scores.values(), default=0.0) - beam
        steps = [
            step
            for state, score in scores.items()
            for step in _steps(state, said.log_probs(frame, state[0]), floor - score)
        ]
        scores = _survivors(scores, steps, beam, max_contexts, max_states)
        steps = [step for step in steps if step.destination in scores]
        before, paths = paths, {state: Paths() for state in scores}
        for step in steps:
            paths[step.destination].prolong(before[step.source], step.arc, step.score)
    ending = [step for step in steps if step.destination[1] == _FINAL_STATE]
    complete = Paths()
    for step in ending or steps * allow_partial:
        complete.prolong(before[step.source], step.arc, 0.0)
    return complete


def _steps(state: State, log_probs: NDArray[np.float32], floor: float) -> Iterator[_Step]:
    """The arcs that leave a state, but for those that add less than ``floor``."""
    context, graph_state = state
    if graph_state == _FINAL_STATE:
        return
    splits, destination, label, score = COLUMNS
    yield _Step(state, BLANK_ARC, state, log_probs[0])
    for arc in range(splits[graph_state], splits[graph_state + 1]):
        symbol = int(label[arc])
        gain = score[arc] + log_probs[max(symbol, 0)]
        # The blank that a final arc costs does not count yet, and what costs a blank may always go.
        if symbol != 0 and (gain if symbol > 0 else score[arc]) < floor:
            continue
        following = (*context[1:], symbol) if symbol > 0 else context
        yield _Step(state, arc, (following, int(destination[arc])), gain)


def _survivors(
    scores: Mapping[State, float],
    steps: Sequence[_Step],
    beam: float,
    max_contexts: int,
    max_states: int,
) -> dict[State, float]:
    """The states that are kept of those that steps reach."""
    reached: dict[State, float] = {}
    for step in steps:
        score = scores[step.source] + step.score
        reached[step.destination] = max(score, reached.get(step.destination, -math.inf))
    ranked = sorted(reached.items(), key=lambda item: -item[1])[:max_states]
    kept = {state: score for state, score in ranked if score >= ranked[0][1] - beam}
    contexts = list(dict.fromkeys(context for context, _ in kept))[:max_contexts]
    return {state: score for state, score in kept.items() if state[0] in contexts}
