"""Conformance tests of runtimes of export formats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np
from numpy.typing import NDArray

from calve.bundles.bundle import Bundle
from calve.errors import BundleError, PluginError
from calve.protocols import States, StreamingSession
from calve.registry.catalog import registry
from calve.registry.discovery import load_driver
from calve.testing.checks import check_close, fail, require
from calve.testing.trials import (
    check_without_torch,
    kept_bundle,
    recipe_for,
    weight_files,
    working_copy,
)

__all__ = ["RuntimeConformance"]

Float32Array = NDArray[np.float32]

_STREAMS = 3
_STEPS = 3


class RuntimeConformance:
    """Tests of a driver in ``calve.runtimes``, on a bundle of a very small model.

    The driver ``torch`` takes a model in memory and cannot be tested with this class.

    Attributes:
      runtime: Name of the driver.
      format: Format of its bundles; by default the first format that names the driver.
      recipe: A recipe whose encoder supports the format; by default the first registered one.
      needs_torch: Whether it runs the networks with torch; other runtimes must work without torch.
      tolerance: Largest difference between two computations of the same numbers, relative to the
        largest number if that is above 1.
    """

    runtime: ClassVar[str]
    format: ClassVar[str | None] = None
    recipe: ClassVar[str | None] = None
    needs_torch: ClassVar[bool] = False
    tolerance: ClassVar[float] = 1e-4

    def test_its_name_is_its_own(self) -> None:
        try:
            load_driver("calve.runtimes", self.runtime)
        except PluginError as error:
            fail(str(error))

    def test_a_session_says_what_its_bundle_says(self) -> None:
        session, manifest = self._open(), self._bundle().manifest
        require(
            isinstance(session, StreamingSession),
            "what it opens lacks methods of a StreamingSession",
        )
        said = {
            "geometry": manifest.geometry,
            "feature_dim": manifest.features.num_mel_bins,
            "blank_id": manifest.blank_id,
            "context_size": manifest.context_size,
            "vocab_size": manifest.vocab_size,
        }
        for name, expected in said.items():
            actual = getattr(session, name)
            require(
                actual == expected,
                f"the session's {name} is {actual}, and the bundle's {expected}",
            )
        require(
            session.initial_symbol in (-1, session.blank_id),
            f"before the first symbol it sees {session.initial_symbol}, neither blank nor nothing",
        )

    def test_arrays_are_contiguous_float32_with_the_streams_first(self) -> None:
        session = self._open()
        encoder_out, _ = session.encode_chunk(
            self._segment(_STREAMS), session.init_states(_STREAMS)
        )
        _check_array("encode_chunk", encoder_out, (_STREAMS, session.geometry.output_frames))
        decoder_out = session.decode_context(self._contexts(_STREAMS))
        _check_array("decode_context", decoder_out, (_STREAMS,))
        logits = session.join(np.ascontiguousarray(encoder_out[:, 0]), decoder_out)
        _check_array("join", logits, (_STREAMS, session.vocab_size))

    def test_streams_do_not_see_each_other(self) -> None:
        session = self._open()
        together = self._encode(session, self._audio(_STREAMS))
        for row in range(_STREAMS):
            alone = self._encode(session, self._audio(_STREAMS)[row : row + 1])
            self._compare(together[row], alone[0], f"stream {row} among {_STREAMS}")
        contexts = self._contexts(_STREAMS)
        decoder_out = session.decode_context(contexts)
        for row in range(_STREAMS):
            one = session.decode_context(contexts[row : row + 1])
            self._compare(decoder_out[row], one[0], f"the context of stream {row}")

    def test_streams_come_and_go(self) -> None:
        session = self._open()
        audio = self._audio(_STREAMS)
        expected = self._encode(session, audio)
        _, after = self._steps(session, audio, session.init_states(_STREAMS), range(1))
        order = (2, 0)
        chosen = session.select_states(after, order)
        out, chosen = self._steps(session, audio[list(order)], chosen, range(1, 2))
        frames = session.geometry.output_frames
        self._compare(
            out, expected[list(order), frames : 2 * frames], "streams that select_states chose"
        )
        _, late = self._steps(session, audio[1:2], session.select_states(after, [1]), range(1, 2))
        joined = session.join_states([chosen, late])
        out, _ = self._steps(session, audio[[*order, 1]], joined, range(2, 3))
        self._compare(
            out, expected[[*order, 1], 2 * frames :], "streams that join_states brought together"
        )

    def test_a_step_leaves_its_inputs_alone(self) -> None:
        session = self._open()
        _, states = session.encode_chunk(self._segment(1), session.init_states(1))
        inputs: dict[str, Any] = {
            "features": self._segment(1),
            "contexts": self._contexts(1),
            **states,
        }
        before = {name: array.copy() for name, array in inputs.items()}
        encoder_out, _ = session.encode_chunk(inputs["features"], states)
        decoder_out = session.decode_context(inputs["contexts"])
        frame = np.ascontiguousarray(encoder_out[:, 0])
        inputs |= {"encoder_out": frame, "decoder_out": decoder_out}
        before |= {"encoder_out": frame.copy(), "decoder_out": decoder_out.copy()}
        session.join(frame, decoder_out)
        changed = [name for name, one in inputs.items() if not np.array_equal(one, before[name])]
        require(not changed, f"a step writes into what it was given: {', '.join(changed)}")

    def test_answers_stay_what_they_were(self) -> None:
        session = self._open()
        states = session.init_states(1)
        first, _ = session.encode_chunk(self._segment(1), states)
        kept = first.copy()
        session.encode_chunk(-self._segment(1), states)
        require(
            np.array_equal(first, kept),
            "the next step overwrites what this one returned: give away a copy",
        )

    def test_it_answers_the_same_every_time(self) -> None:
        audio = self._audio(1)
        first, again = self._open(), self._open()
        expected = self._encode(first, audio)
        for session, what in ((first, "asked twice"), (again, "opened twice")):
            self._compare(self._encode(session, audio), expected, f"a bundle that is {what}")

    def test_more_threads_change_nothing(self) -> None:
        audio = self._audio(1)
        expected = self._encode(self._open(), audio)
        threaded = self._encode(self._open(num_threads=2), audio)
        self._compare(threaded, expected, "with two threads")

    def test_a_bundle_that_lacks_a_file_is_an_error(self) -> None:
        for name in weight_files(self._bundle()):
            with working_copy(self._bundle()) as bundle:
                (bundle.path / name).unlink()
                try:
                    load_driver("calve.runtimes", self.runtime).open(bundle)
                except BundleError as error:
                    require(
                        bool(error.where and error.fix),
                        f"without {name} it does not say where, and what to do: {error.what}",
                    )
                    continue
                except Exception as error:
                    fail(f"without {name} it raises {type(error).__name__}, not a BundleError")
                fail(f"it opens a bundle without {name}")

    def test_it_runs_where_torch_is_not_installed(self) -> None:
        if self.needs_torch:
            raise SkipTest("it runs the networks with torch")
        check_without_torch(self._bundle())

    def _bundle(self) -> Bundle:
        format_name = self.format or self._first_format()
        exporter = registry().exporters.get(format_name)
        recipe = recipe_for(format_name, self.recipe)
        return kept_bundle(recipe, format_name, next(iter(exporter.precisions)))

    def _first_format(self) -> str:
        named = [one.format for one in registry().exporters if one.runtime == self.runtime]
        if not named:
            fail(f"no export format names the runtime {self.runtime!r}: say which format it opens")
        return named[0]

    def _open(self, num_threads: int = 1) -> StreamingSession:
        driver = load_driver("calve.runtimes", self.runtime)
        session: StreamingSession = driver.open(self._bundle(), num_threads=num_threads)
        return session

    def _audio(self, streams: int) -> Float32Array:
        """(N, T, C) features for as many steps as are taken."""
        manifest = self._bundle().manifest
        frames = manifest.geometry.overlap + _STEPS * manifest.geometry.shift
        shape = (streams, frames, manifest.features.num_mel_bins)
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    def _segment(self, streams: int) -> Float32Array:
        return np.ascontiguousarray(
            self._audio(streams)[:, : self._bundle().manifest.geometry.segment]
        )

    def _contexts(self, streams: int) -> NDArray[np.int64]:
        manifest = self._bundle().manifest
        shape = (streams, manifest.context_size)
        return np.random.default_rng(1).integers(0, manifest.vocab_size, shape)

    def _encode(self, session: StreamingSession, audio: Float32Array) -> Float32Array:
        return self._steps(session, audio, session.init_states(len(audio)), range(_STEPS))[0]

    def _steps(
        self, session: StreamingSession, audio: Float32Array, states: States, numbers: Sequence[int]
    ) -> tuple[Float32Array, States]:
        """The encoder frames of some steps, (N, T', D), and the states after them."""
        geometry = session.geometry
        outputs = []
        for number in numbers:
            start = number * geometry.shift
            segment = np.ascontiguousarray(audio[:, start : start + geometry.segment])
            encoder_out, states = session.encode_chunk(segment, states)
            outputs.append(encoder_out.copy())
        return np.concatenate(outputs, axis=1), states

    def _compare(self, actual: Float32Array, expected: Float32Array, what: str) -> None:
        check_close(actual, expected, what, tolerance=self.tolerance)


def _check_array(name: str, array: Float32Array, shape: tuple[int, ...]) -> None:
    require(
        array.shape[: len(shape)] == shape,
        f"{name} gives the shape {array.shape} for {_STREAMS} streams; it must begin with {shape}",
    )
    contiguous = bool(array.flags.c_contiguous)
    require(
        array.dtype == np.float32 and contiguous,
        f"{name} gives {array.dtype}, {'' if contiguous else 'not '}contiguous; searches need "
        "contiguous float32",
    )
