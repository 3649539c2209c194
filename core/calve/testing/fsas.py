"""Conformance tests of FSA backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from calve.protocols import FsaBackend, LatticeColumns
from calve.registry.discovery import load_driver
from calve.testing.checks import require
from calve.testing.walks import BLANK_ARC, COLUMNS, CONTEXT_SIZE, VOCAB_SIZE, Babble, Paths, walked

__all__ = ["FsaBackendConformance"]

_WIDE = {"beam": 1000.0, "max_contexts": 1000, "max_states": 1000}
_FRAMES = 5
_LENGTHS = (4, 5, 1, 0, 3)
_TOLERANCE = 1e-4


class FsaBackendConformance:
    """Tests of a driver in ``calve.fsa_backends``, on a small graph whose paths can be counted.

    Attributes:
      backend: Name of the driver.
    """

    backend: ClassVar[str]

    def load(self, **limits: Any) -> FsaBackend:
        """The backend, on the small graph."""
        return self.on_the_graph(load_driver("calve.fsa_backends", self.backend), **limits)

    def on_the_graph(self, driver: Callable[..., FsaBackend], **limits: Any) -> FsaBackend:
        """Make a backend for the small graph, with or without limits."""
        return driver(
            *(column.copy() for column in COLUMNS),
            vocab_size=VOCAB_SIZE,
            context_size=CONTEXT_SIZE,
            **{**_WIDE, **limits},
        )

    def test_without_limits_every_path_is_there(self) -> None:
        self._compare_with_the_definition()

    def test_the_beam_decides_what_is_followed(self) -> None:
        for beam in (0.5, 1.5, 3.0):
            self._compare_with_the_definition(beam=beam)

    def test_the_best_states_are_kept(self) -> None:
        for max_states in (1, 3, 7):
            self._compare_with_the_definition(max_states=max_states)

    def test_the_best_contexts_are_kept(self) -> None:
        for max_contexts in (1, 2, 4):
            self._compare_with_the_definition(max_contexts=max_contexts)

    def test_a_sentence_that_may_be_partial_has_other_paths_only_if_it_does_not_end(self) -> None:
        for max_states in (1, 1000):
            self._compare_with_the_definition(max_states=max_states, allow_partial=True)

    def test_the_networks_score_each_context_once(self) -> None:
        backend, speech = self.load(), [Babble(seed) for seed in range(3)]
        walk = backend.walk([backend.start() for _ in speech])
        for frame in range(_FRAMES):
            active = np.array([0, 2]) if frame else np.arange(3)
            owners, contexts = walk.contexts(active)
            require(
                contexts.shape == (len(owners), CONTEXT_SIZE),
                f"contexts of {len(owners)} rows have the shape {contexts.shape}",
            )
            pairs = [(owner, *row) for owner, row in zip(owners, contexts.tolist(), strict=True)]
            require(
                list(owners) == sorted(owners) and set(owners) == set(active),
                f"the streams {active.tolist()} go on, and contexts are those of {list(owners)}",
            )
            require(len(set(pairs)) == len(pairs), "a stream has the same context twice")
            require(
                frame > 0 or not contexts.any(),
                f"streams begin with the contexts {contexts.tolist()}, not with blanks",
            )
            walk.advance(_scores(speech, [frame] * 3, owners, contexts))

    def test_a_lattice_is_well_formed(self) -> None:
        for allow_partial in (False, True):
            lattice = self._alone(self.load(), Babble(0), _FRAMES, allow_partial=allow_partial)
            source, destination, graph_arc, score, num_states = lattice
            for column in lattice[:4]:
                dtype = np.float32 if column is score else np.int32
                require(
                    column.dtype == dtype and column.shape == source.shape,
                    f"a column of {len(source)} arcs is {column.dtype} of the shape {column.shape}",
                )
            require(bool((np.diff(source) >= 0).all()), "arcs are not sorted by their source")
            require(
                bool((source < destination).all() and (destination < num_states).all()),
                "arcs do not lead to states of higher numbers",
            )
            require(
                bool(((graph_arc >= BLANK_ARC) & (graph_arc < len(COLUMNS[1]))).all()),
                f"arcs of the graph are {sorted(set(graph_arc.tolist()))}",
            )
            require(
                not score[destination == num_states - 1].any(),
                "arcs into the final state score something",
            )

    def test_a_stream_without_frames_has_no_path(self) -> None:
        backend = self.load()
        stream = backend.start()
        backend.walk([stream]).finish()
        for allow_partial in (False, True):
            *columns, num_states = backend.lattice(stream, allow_partial=allow_partial)
            require(
                num_states == 0 and not any(map(len, columns)),
                f"without frames a lattice has {num_states} states and {len(columns[0])} arcs",
            )

    def test_streams_do_not_see_each_other(self) -> None:
        backend, speech = self.load(), [Babble(seed) for seed in range(len(_LENGTHS))]
        streams = [backend.start() for _ in speech]
        _walk(backend, streams, speech, [0] * len(speech), _LENGTHS)
        for number, length in enumerate(_LENGTHS):
            found = Paths.of(backend.lattice(streams[number], allow_partial=False))
            alone = Paths.of(self._alone(self.load(), speech[number], length))
            _compare(found, alone, f"stream {number} of {len(streams)}")

    def test_streams_come_and_go(self) -> None:
        backend, speech = self.load(), [Babble(seed) for seed in range(3)]
        streams = [backend.start() for _ in speech]
        done = [0, 0, 0]
        for counts in ({0: 2}, {1: 1, 0: 2}, {0: 1, 2: 5, 1: 4}):
            chosen, said = ([every[number] for number in counts] for every in (streams, speech))
            starts = [done[number] for number in counts]
            _walk(backend, chosen, said, starts, list(counts.values()))
            for number, count in counts.items():
                done[number] += count
        for number, stream in enumerate(streams):
            found = Paths.of(backend.lattice(stream, allow_partial=False))
            alone = Paths.of(self._alone(self.load(), speech[number], _FRAMES))
            _compare(found, alone, f"stream {number}, which came and went,")

    def test_asking_for_a_lattice_changes_nothing(self) -> None:
        backend, said = self.load(), Babble(2)
        stream = backend.start()
        for frame in range(_FRAMES):
            _walk(backend, [stream], [said], [frame], [1])
            for allow_partial in (True, False):
                for column in backend.lattice(stream, allow_partial=allow_partial)[:4]:
                    column[:] = 0
        alone = Paths.of(self._alone(self.load(), said, _FRAMES))
        for _ in range(2):
            found = Paths.of(backend.lattice(stream, allow_partial=False))
            _compare(found, alone, "a stream whose lattice was often asked for")

    def test_a_walk_that_breaks_off_leaves_streams_as_they_were_or_unusable(self) -> None:
        for lengths in ((3, 3), (1, 3)):
            backend, speech = self.load(), [Babble(seed) for seed in range(2)]
            streams = [backend.start() for _ in speech]
            _walk(backend, streams, speech, [0, 0], [2, 2])
            before = [Paths.of(backend.lattice(one, allow_partial=False)) for one in streams]
            _walk(backend, streams, speech, [2, 2], lengths, finish=False)
            for number, stream in enumerate(streams):
                try:
                    found = Paths.of(backend.lattice(stream, allow_partial=False))
                except Exception:
                    continue
                _compare(found, before[number], f"stream {number}, whose walk broke off,")

    def test_it_leaves_log_probabilities_alone(self) -> None:
        backend = self.load()
        walk = backend.walk([backend.start()])
        owners, contexts = walk.contexts(np.arange(1))
        log_probs = _scores([Babble(0)], [0], owners, contexts)
        before = log_probs.copy()
        walk.advance(log_probs)
        walk.finish()
        require(np.array_equal(log_probs, before), "it writes into the log probabilities")

    def _alone(
        self, backend: FsaBackend, said: Babble, frames: int, *, allow_partial: bool = False
    ) -> LatticeColumns:
        stream = backend.start()
        _walk(backend, [stream], [said], [0], [frames])
        return backend.lattice(stream, allow_partial=allow_partial)

    def _compare_with_the_definition(self, *, allow_partial: bool = False, **limits: Any) -> None:
        for seed in range(4):
            said = Babble(seed)
            lattice = self._alone(self.load(**limits), said, _FRAMES, allow_partial=allow_partial)
            expected = walked(said, _FRAMES, allow_partial=allow_partial, **{**_WIDE, **limits})
            what = ", ".join(f"{name} {value}" for name, value in limits.items()) or "no limits"
            _compare(Paths.of(lattice), expected, f"with {what} a stream")


def _walk(
    backend: FsaBackend,
    streams: Sequence[Any],
    speech: Sequence[Babble],
    starts: Sequence[int],
    counts: Sequence[int],
    *,
    finish: bool = True,
) -> None:
    """Take streams on, each from the frame where it is."""
    walk = backend.walk(streams)
    for step in range(max(counts)):
        owners, contexts = walk.contexts(np.flatnonzero(step < np.array(counts)))
        frames = [start + step for start in starts]
        walk.advance(_scores(speech, frames, owners, contexts))
    if finish:
        walk.finish()


def _scores(
    speech: Sequence[Babble],
    frames: Sequence[int],
    owners: NDArray[np.int64],
    contexts: NDArray[np.int64],
) -> NDArray[np.float32]:
    rows = [
        speech[owner].log_probs(frames[owner], tuple(context))
        for owner, context in zip(owners.tolist(), contexts.tolist(), strict=True)
    ]
    return np.array(rows, np.float32).reshape(len(rows), VOCAB_SIZE)


def _compare(found: Paths, expected: Paths, what: str) -> None:
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    require(
        not missing and not extra,
        f"{what} has {len(found)} paths; {len(missing)} that survive are missing and {len(extra)} "
        f"should not have survived, such as {next(iter(missing | extra), None)}",
    )
    for path, score in expected.items():
        require(
            abs(found[path] - score) < _TOLERANCE,
            f"{what} has the path {path} with the score {found[path]}, not {score}",
        )
