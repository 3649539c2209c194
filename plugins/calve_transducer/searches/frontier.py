"""One frame of a frame-synchronous search on a graph, compiled.

At every frame a stream is in a few *states*. Each is a pair of the latest symbols (its context) and
a state of the graph, and is stored as one integer, its key: ``context * num_states + state``. The
symbols are the digits of the integer ``context``. A blank leads from each state back to it; the
arcs of the graph lead to other states. The best reached states are kept by the rules of k2's
``RnntDecodingStreams``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calve_transducer.compilation import compiled

__all__ = ["BLANK_ARC", "GraphArrays", "Limits", "list_contexts", "walk_frame"]

Int64Array = NDArray[np.int64]
Float64Array = NDArray[np.float64]
Float32Array = NDArray[np.float32]

BLANK_ARC = -1
"""Index of the blank's arc, which is not part of any graph."""

_FINAL = -1
_SPREAD = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: products with it scatter neighboring keys."""


class GraphArrays(NamedTuple):
    """The columns of a `calve_graphs.graph.DecodingGraph` that a search needs."""

    arc_splits: NDArray[np.int32]
    destination: NDArray[np.int32]
    label: NDArray[np.int32]
    score: NDArray[np.float32]


class Limits(NamedTuple):
    """Limits of the states that are kept.

    Attributes:
      beam: States whose log probability is further below the best are dropped.
      max_contexts: Largest number of contexts of one stream.
      max_states: Largest number of states of one stream.
      vocab_size: Number of symbols, including the blank.
      num_tails: Number of contexts without their first symbol: ``vocab_size ** (context_size -
        1)``.
    """

    beam: float
    max_contexts: int
    max_states: int
    vocab_size: int
    num_tails: int


@compiled
def list_contexts(keys: Int64Array, counts: Int64Array, active: Int64Array, num_states: int) -> Any:
    """List the contexts that the networks must score.

    Args:
      keys: (N, max_states), the states of N streams in ascending order.
      counts: (N,), the number of states of each stream.
      active: (A,), the streams to advance.
      num_states: States of the graph.

    Returns:
      The stream of each context (R,), the contexts (R,), and the row of each state among them (N,
      max_states); -1 for final states, which have no arcs.
    """
    owners = np.empty(counts[active].sum(), np.int64)
    contexts = np.empty(len(owners), np.int64)
    rows = np.full(keys.shape, -1, np.int64)
    size = 0
    for stream in active:
        latest = -1
        for place in range(counts[stream]):
            context, state = divmod(keys[stream, place], num_states)
            if state == num_states - 1:
                continue
            if context != latest:
                latest = context
                owners[size], contexts[size] = stream, context
                size += 1
            rows[stream, place] = size - 1
    return owners[:size], contexts[:size], rows


@compiled
def walk_frame(
    graph: GraphArrays,
    limits: Limits,
    active: Int64Array,
    keys: Int64Array,
    scores: Float64Array,
    counts: Int64Array,
    rows: Int64Array,
    log_probs: Float32Array,
) -> Any:
    """Advance each stream in ``active`` by one frame.

    Args:
      keys, scores, counts: (N, max_states) twice and (N,): the states in ascending order, their log
        probabilities and their number; they are changed.
      rows: (N, max_states), the row of each state in ``log_probs``, -1 for none.
      log_probs: (R, vocab_size).

    Returns:
      Arcs (n, 4) int32: the stream, the places of the state that the arc leaves and of the one that
      it enters, and the graph's arc or `BLANK_ARC`; and their scores (n,) float32. They are in the
      order of ``active``, of the states that they leave, and of the graph's arcs.
    """
    arcs = np.empty((4 * limits.max_states * len(active) + 1, 4), np.int32)
    arc_scores = np.empty(len(arcs), np.float32)
    size = 0
    for stream in active:
        old = keys[stream, : counts[stream]].copy()
        old_scores = scores[stream, : counts[stream]].copy()
        if (rows[stream, : counts[stream]] < 0).all():
            counts[stream] = 0  # only final states were left
            continue
        floor = old_scores.max() - limits.beam
        new, new_scores = _best_states(
            graph, limits, old, old_scores, rows[stream], log_probs, floor
        )
        new, new_scores = _in_best_contexts(
            new, new_scores, len(graph.arc_splits) - 1, limits.max_contexts
        )
        counts[stream] = len(new)
        keys[stream, : len(new)] = new
        scores[stream, : len(new)] = new_scores

        table = _table(new, len(new))
        for place in range(len(old)):
            if rows[stream, place] < 0:
                continue
            probs = log_probs[rows[stream, place]]
            context, tail, first, last = _where(graph, limits, old[place])
            for arc in range(first - 1, last):
                key, gain, early = _follow(graph, old[place], context, tail, arc, first, probs)
                if old_scores[place] + early < floor:
                    continue
                found = table[_slot(table, new, key)]
                if found < 0:
                    continue
                if size == len(arcs):
                    arcs, arc_scores = _twice_as_long(arcs, arc_scores)
                arcs[size, 0], arcs[size, 1], arcs[size, 2] = stream, place, found
                arcs[size, 3] = BLANK_ARC if arc < first else arc
                arc_scores[size] = gain
                size += 1
    return arcs[:size], arc_scores[:size]


@compiled
def _best_states(
    graph: GraphArrays,
    limits: Limits,
    old: Int64Array,
    old_scores: Float64Array,
    rows: Int64Array,
    log_probs: Float32Array,
    floor: float,
) -> Any:
    """Return the best ``max_states`` reached states within the beam, in ascending order.

    At most a few times as many states are stored at a time. If there are more, only the best are
    kept, and from then on worse states are skipped.
    """
    most = 4 * limits.max_states
    new, new_scores = np.empty(most, np.int64), np.empty(most, np.float64)
    table = _table(new[:0], most)
    size, worst = 0, -np.inf
    for place in range(len(old)):
        if rows[place] < 0:
            continue
        probs = log_probs[rows[place]]
        context, tail, first, last = _where(graph, limits, old[place])
        for arc in range(first - 1, last):
            key, gain, early = _follow(graph, old[place], context, tail, arc, first, probs)
            reached = old_scores[place] + gain
            if reached < worst or old_scores[place] + early < floor:
                continue
            slot = _slot(table, new, key)
            if table[slot] >= 0:
                new_scores[table[slot]] = max(new_scores[table[slot]], reached)
                continue
            if size == most:
                best = _best(new, new_scores, limits.max_states)
                size = len(best)
                new[:size], new_scores[:size] = new[best], new_scores[best]
                worst = new_scores[:size].min()
                table = _table(new[:size], most)
                slot = _slot(table, new, key)
            new[size], new_scores[size], table[slot] = key, reached, size
            size += 1
    best = _best(new[:size], new_scores[:size], limits.max_states)
    new, new_scores = new[best], new_scores[best]
    within = new_scores >= new_scores.max() - limits.beam
    return new[within], new_scores[within]


@compiled
def _in_best_contexts(
    keys: Int64Array, scores: Float64Array, num_states: int, max_contexts: int
) -> Any:
    """Return the states in the best contexts; the score of a context is that of its best state."""
    contexts = np.empty(len(keys), np.int64)
    context_scores = np.empty(len(keys), np.float64)
    owners = np.empty(len(keys), np.int64)
    size = 0
    for place in range(len(keys)):
        context = keys[place] // num_states
        if size == 0 or context != contexts[size - 1]:
            contexts[size], context_scores[size] = context, -np.inf
            size += 1
        context_scores[size - 1] = max(context_scores[size - 1], scores[place])
        owners[place] = size - 1
    if size <= max_contexts:
        return keys, scores
    is_kept = np.zeros(size, np.bool_)
    is_kept[_best(contexts[:size], context_scores[:size], max_contexts)] = True
    kept = is_kept[owners]
    return keys[kept], scores[kept]


@compiled
def _best(keys: Int64Array, scores: Float64Array, count: int) -> Any:
    """Return the indices of the best scores by ascending key; lower keys win ties."""
    order = np.argsort(keys)
    if len(order) <= count:
        return order
    worst = np.sort(scores)[len(scores) - count]
    free = count - (scores > worst).sum()
    best = np.empty(count, np.int64)
    size = 0
    for place in order:
        if scores[place] == worst:
            free -= 1
        if scores[place] > worst or (scores[place] == worst and free >= 0):
            best[size] = place
            size += 1
    return best


@compiled
def _where(graph: GraphArrays, limits: Limits, key: int) -> Any:
    """Compute the values that all arcs of a state share, because divisions are slow.

    Returns:
      The context, the next context without its last symbol, and the range of the state's arcs.
    """
    context, state = divmod(key, len(graph.arc_splits) - 1)
    tail = context % limits.num_tails * limits.vocab_size
    return context, tail, graph.arc_splits[state], graph.arc_splits[state + 1]


@compiled
def _follow(
    graph: GraphArrays,
    key: int,
    context: int,
    tail: int,
    arc: int,
    first: int,
    log_probs: Float32Array,
) -> Any:
    """Return the destination of an arc, its score, and its score for the first pruning.

    The arc before ``first`` is the blank's. As in k2, blanks are never pruned, and a final arc gets
    the blank's probability, which the first pruning ignores.
    """
    if arc < first:
        return key, np.float64(log_probs[0]), np.inf
    num_states = len(graph.arc_splits) - 1
    label, score = graph.label[arc], np.float64(graph.score[arc])
    if label <= 0:
        early = score if label == _FINAL else np.inf
        return context * num_states + graph.destination[arc], score + log_probs[0], early
    gain = score + log_probs[label]
    return (tail + label) * num_states + graph.destination[arc], gain, gain


@compiled
def _table(keys: Int64Array, most: int) -> Any:
    """Create a hash table of indices into ``keys``, with room for ``most``."""
    capacity = 16
    while capacity < 2 * most:
        capacity *= 2
    table = np.full(capacity, -1, np.int32)
    for place in range(len(keys)):
        table[_slot(table, keys, keys[place])] = place
    return table


@compiled
def _slot(table: NDArray[np.int32], keys: Int64Array, key: int) -> int:
    """Return the slot of a key, or the slot where it would be inserted."""
    slot: int = np.int64(np.uint64(key) * np.uint64(_SPREAD) >> np.uint64(32)) & (len(table) - 1)
    while table[slot] >= 0 and keys[table[slot]] != key:
        slot = (slot + 1) & (len(table) - 1)
    return slot


@compiled
def _twice_as_long(arcs: NDArray[np.int32], scores: Float32Array) -> Any:
    longer = np.empty((2 * len(arcs), 4), np.int32)
    longer_scores = np.empty(len(longer), np.float32)
    longer[: len(arcs)], longer_scores[: len(arcs)] = arcs, scores
    return longer, longer_scores
