"""Conformance tests of decoding methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from calve.decoding.search import make_search
from calve.errors import DataError
from calve.protocols import Hypothesis, Search
from calve.registry.catalog import registry
from calve.testing.checks import (
    check_light_import,
    check_options,
    check_registered_once,
    fail,
    require,
)
from calve.testing.sessions import RandomSession, SpellingSession

__all__ = ["DecoderConformance"]

Float32Array = NDArray[np.float32]

_LENGTHS = (17, 1, 40, 0, 23)
_PIECES = ((1,) * 40, (7, 0, 1, 20, 12), (39, 1))
_SPELLED = (0, 0, 3, 0, 5, 3, 0, 0, 9, 4, 0, 7, 0, 0, 0)


class DecoderConformance:
    """Tests of a decoding method, with small networks whose outputs are known.

    Attributes:
      decoder: Name of the method.
      options: Its options, including all that it needs.
      stream_options: Its options for each stream.
      exact_timestamps: False for a method that merges equal hypotheses of several symbols per frame
        and may keep the frames of the less likely one.
    """

    decoder: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    stream_options: ClassVar[Mapping[str, Any]] = {}
    exact_timestamps: ClassVar[bool] = True

    def test_its_name_is_its_own(self) -> None:
        check_registered_once(registry().decoding_methods, self.decoder)

    def test_importing_the_plugin_imports_nothing_heavy(self) -> None:
        spec = registry().decoding_methods.get(self.decoder)
        source = registry().decoding_methods.source(self.decoder)
        check_light_import(source.target, spec.options)

    def test_its_options_explain_themselves(self) -> None:
        check_options(registry().decoding_methods.get(self.decoder).options.load())

    def test_it_finds_what_is_plainly_said(self) -> None:
        session = SpellingSession()
        search = make_search(self.decoder, session, **self.options)
        (found,) = self._search(search, [session.frames(_SPELLED)])
        spoken = {frame: symbol for frame, symbol in enumerate(_SPELLED) if symbol}
        require(
            list(found.tokens) == list(spoken.values()),
            f"the symbols {list(spoken.values())} are said, and it finds {found.tokens}",
        )
        require(
            not self.exact_timestamps or list(found.timestamps) == list(spoken),
            f"symbols are said at the frames {list(spoken)}, and it finds {found.timestamps}",
        )

    def test_hypotheses_are_well_formed(self) -> None:
        session = RandomSession()
        search = self._make(session)
        frames = [session.frames(count, seed) for seed, count in enumerate(_LENGTHS)]
        found = self._search(search, frames)
        require(any(one.tokens for one in found), "it finds nothing in 81 frames of babble")
        for one, count in zip(found, _LENGTHS, strict=True):
            require(
                len(one.tokens) == len(one.timestamps),
                f"{len(one.tokens)} tokens have {len(one.timestamps)} timestamps",
            )
            odd = [token for token in one.tokens if not 0 < token < session.vocab_size]
            require(not odd, f"{odd} are blanks, or no symbols at all")
            require(
                list(one.timestamps) == sorted(one.timestamps)
                and all(0 <= frame < count for frame in one.timestamps),
                f"the timestamps of a stream of {count} frames are {one.timestamps}",
            )
            require(bool(np.isfinite(one.score)), f"a score is {one.score}")

    def test_a_stream_without_frames_has_said_nothing(self) -> None:
        session = RandomSession()
        search = self._make(session)
        for frames in ([], [session.frames(0, 0)]):
            stream = self._start(search)
            for one in frames:
                search.advance([stream], [one])
            found = search.result(stream)
            require(not found.tokens, f"without frames it finds {found.tokens}")
        search.advance([], [])

    def test_the_pieces_that_frames_come_in_do_not_matter(self) -> None:
        session = RandomSession()
        search = self._make(session)
        frames = session.frames(sum(_PIECES[0]), seed=1)
        (whole,) = self._search(search, [frames])
        for pieces in _PIECES:
            stream = self._start(search)
            for piece in np.split(frames, np.cumsum(pieces)[:-1]):
                search.advance([stream], [piece])
            _compare(search.result(stream), whole, f"frames in pieces of {pieces[:5]}")

    def test_streams_do_not_see_each_other(self) -> None:
        session = RandomSession()
        search = self._make(session)
        frames = [session.frames(count, seed) for seed, count in enumerate(_LENGTHS)]
        together = self._search(search, frames)
        for number, one in enumerate(frames):
            (alone,) = self._search(self._make(session), [one])
            _compare(together[number], alone, f"stream {number} among {len(frames)}")

    def test_streams_come_and_go(self) -> None:
        session = RandomSession()
        search = self._make(session)
        frames = [session.frames(30, seed) for seed in range(3)]
        expected = [self._search(self._make(session), [one])[0] for one in frames]
        first, second, third = (self._start(search) for _ in frames)
        search.advance([first], [frames[0][:10]])
        search.advance([second, first], [frames[1][:10], frames[0][10:20]])
        search.advance([first, third, second], [frames[0][20:], frames[2][:25], frames[1][10:]])
        search.advance([third], [frames[2][25:]])
        for number, stream in enumerate((first, second, third)):
            _compare(search.result(stream), expected[number], f"stream {number} of three")

    def test_asking_for_the_result_changes_nothing(self) -> None:
        session = RandomSession()
        search = self._make(session)
        frames = session.frames(40, seed=2)
        (expected,) = self._search(search, [frames])
        stream = self._start(search)
        for frame in frames:
            search.advance([stream], [frame[None]])
            found = search.result(stream)
            found.tokens.append(1)
            found.timestamps.append(0)
        for _ in range(2):
            _compare(search.result(stream), expected, "a stream whose result was often asked for")

    def test_endpointing_learns_when_the_last_symbol_was_found(self) -> None:
        session = SpellingSession()
        search = make_search(self.decoder, session, **self.options)
        stream = self._start(search)
        require(
            search.last_timestamp(stream) is None,
            f"without frames its last symbol is at frame {search.last_timestamp(stream)}",
        )
        frames = session.frames(_SPELLED)
        search.advance([stream], [frames])
        before = search.result(stream)
        last = search.last_timestamp(stream)
        require(
            last is not None
            and 0 <= last < len(_SPELLED)
            and (not self.exact_timestamps or [last] == list(before.timestamps[-1:])),
            f"the timestamps end with {before.timestamps[-1:]}, the last symbol is at {last}",
        )
        _compare(search.result(stream), before, "a stream whose last symbol was asked for")

    def test_it_leaves_encoder_frames_alone(self) -> None:
        session = RandomSession()
        frames = session.frames(20, seed=3)
        before = frames.copy()
        self._search(self._make(session), [frames])
        require(np.array_equal(frames, before), "it writes into the encoder's frames")

    def test_nan_is_an_error(self) -> None:
        session = RandomSession()
        frames = session.frames(20, seed=4)
        frames[12] = np.nan
        try:
            self._search(self._make(session), [frames])
        except DataError:
            return
        fail("the networks answer with NaN, and it goes on as if nothing had happened")

    def test_it_goes_on_in_the_context_that_it_is_told(self) -> None:
        if "context" not in registry().decoding_methods.get(self.decoder).stream_options:
            return
        session = SpellingSession()
        search = make_search(self.decoder, session, **self.options)
        stream = search.start(**self.stream_options, context=[9, 3])
        search.advance([stream], [session.frames((3, 3, 0, 5, 0, 0))])
        found = search.result(stream)
        require(
            list(found.tokens) == [5],
            f"after the symbols 9 and 3, a rest of 3 and then 5 are said, and it finds "
            f"{found.tokens}",
        )

    def _make(self, session: Any) -> Search:
        return make_search(self.decoder, session, **self.options)

    def _start(self, search: Search) -> Any:
        return search.start(**self.stream_options)

    def _search(self, search: Search, frames: Sequence[Float32Array]) -> list[Hypothesis]:
        streams = [self._start(search) for _ in frames]
        search.advance(streams, frames)
        return [search.result(stream) for stream in streams]


def _compare(found: Hypothesis, expected: Hypothesis, what: str) -> None:
    require(
        list(found.tokens) == list(expected.tokens)
        and list(found.timestamps) == list(expected.timestamps),
        f"{what}: it finds {found.tokens} at {found.timestamps}, otherwise {expected.tokens} at "
        f"{expected.timestamps}",
    )
    require(
        bool(np.isclose(found.score, expected.score, rtol=1e-4, atol=1e-4)),
        f"{what}: the score is {found.score}, otherwise {expected.score}",
    )
