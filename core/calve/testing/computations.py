"""Conformance checks of encoders: computations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import SkipTest

from calve.data.features import PADDING
from calve.data.geometry import StreamingGeometry
from calve.protocols.states import stream_axis
from calve.testing.checks import check_close, names_of, require
from calve.testing.tensors import features, lengths, run, stream

if TYPE_CHECKING:
    import torch

__all__ = ["ComputationChecks"]

_CHUNKS = 5
_STREAMS = 3
_ATTEMPTS = 8


class ComputationChecks:
    """The numerical checks of `calve.testing.EncoderConformance`."""

    tolerance: ClassVar[float] = 1e-4
    without_gradient: ClassVar[Sequence[str]] = ()

    def test_lengths_count_what_it_returns(self) -> None:
        import torch

        encoder = self._encoder()
        geometry: StreamingGeometry = encoder.geometry
        shortest = geometry.segment + geometry.shift
        counted = {}
        for frames in range(shortest, shortest + 2 * geometry.subsampling_factor + 1):
            y, y_lens = run(encoder, features(encoder, 1, frames))
            require(
                y.shape == (1, int(y_lens[0]), encoder.output_dim),
                f"for {frames} feature frames it returns the shape {tuple(y.shape)} and says that "
                f"there are {int(y_lens[0])} frames of {encoder.output_dim} numbers",
            )
            require(
                y_lens.dtype == torch.int64, f"it counts frames in {y_lens.dtype}, not in int64"
            )
            counted[frames] = y.size(1)
        for frames in range(shortest, shortest + geometry.subsampling_factor + 1):
            later = counted[frames + geometry.subsampling_factor]
            require(
                later == counted[frames] + 1,
                f"{geometry.subsampling_factor} feature frames more than {frames} give "
                f"{later - counted[frames]} output frames more, not one: is the geometry's "
                "subsampling_factor right?",
            )

    def test_a_step_gives_the_frames_that_its_geometry_says(self) -> None:
        import torch

        encoder = self._encoder()
        geometry: StreamingGeometry = encoder.geometry
        x = features(encoder, 1, geometry.segment)
        for dtype in (torch.int64, torch.float32):
            with torch.no_grad():
                y, y_lens, _ = encoder.stream(x, lengths(x).to(dtype), encoder.init_states(1))
            require(
                y.shape == (1, geometry.output_frames, encoder.output_dim),
                f"a step over {geometry.segment} feature frames returns the shape "
                f"{tuple(y.shape)}; its geometry says {geometry.output_frames} frames of "
                f"{encoder.output_dim} numbers",
            )
            require(
                y_lens.tolist() == [geometry.output_frames] and y_lens.dtype == dtype,
                f"a step says {y_lens.tolist()} in {y_lens.dtype} for {geometry.output_frames} "
                f"frames counted in {dtype}",
            )

    def test_padding_does_not_change_an_utterance(self) -> None:
        encoder = self._encoder()
        geometry: StreamingGeometry = encoder.geometry
        longest = geometry.overlap + 6 * geometry.shift
        for missing in range(1, 2 * geometry.subsampling_factor + 1):
            if self.sees_padding(longest - missing):
                continue
            alone = features(encoder, 1, longest - missing)
            expected, lens = run(encoder, alone)
            kept = int(lens[0])
            noise = 10 * features(encoder, 1, longest, seed=missing)
            for padding in (noise * 0 + PADDING, noise):
                batch = padding.repeat(2, 1, 1)
                batch[0, : alone.size(1)] = alone[0]
                y, y_lens = run(encoder, batch, [alone.size(1), longest])
                require(
                    int(y_lens[0]) == int(lens[0]),
                    f"an utterance of {alone.size(1)} frames has {int(lens[0])} output frames "
                    f"alone and {int(y_lens[0])} in a batch",
                )
                self._compare(
                    y[0, :kept],
                    expected[0, :kept],
                    f"an utterance of {alone.size(1)} frames, padded to {longest} in a batch",
                )

    def test_utterances_of_a_batch_do_not_see_each_other(self) -> None:
        encoder = self._encoder()
        geometry: StreamingGeometry = encoder.geometry
        batch = features(encoder, _STREAMS, geometry.overlap + 4 * geometry.shift)
        together, _ = run(encoder, batch)
        for row in range(_STREAMS):
            alone, _ = run(encoder, batch[row : row + 1])
            self._compare(together[row], alone[0], "an utterance in a batch")

    def test_streams_of_a_batch_do_not_see_each_other(self) -> None:
        encoder = self._encoder()
        geometry: StreamingGeometry = encoder.geometry
        batch = features(encoder, _STREAMS, geometry.overlap + 3 * geometry.shift)
        together, states = stream(encoder, batch, geometry)
        for row in range(_STREAMS):
            alone, own = stream(encoder, batch[row : row + 1], geometry)
            self._compare(together[row], alone[0], "a stream in a batch")
            for name, state in states.items():
                axis = stream_axis(encoder.state_batch_axis, name)
                self._compare(
                    state.select(axis, row),
                    own[name].select(axis, 0),
                    f"the state {name!r} of a stream in a batch",
                )

    def test_step_by_step_gives_what_the_whole_utterance_gives(self) -> None:
        import torch

        encoder = self._encoder()
        geometry: StreamingGeometry = encoder.geometry
        shifts = (1, 2, 3) if geometry.dynamic else (1,)
        for times in shifts:
            longer = geometry.with_chunk_ms(times * geometry.chunk_ms)
            x = features(encoder, 2, longer.overlap + _CHUNKS * longer.shift)
            streamed, _ = stream(encoder, x, longer)
            with torch.no_grad():
                whole = self.whole(encoder, x)
            require(
                whole.size(1) >= streamed.size(1),
                f"{_CHUNKS} steps give {streamed.size(1)} frames, the whole utterance "
                f"{whole.size(1)}",
            )
            self._compare(
                streamed,
                whole[:, : streamed.size(1)],
                f"{_CHUNKS} steps of {longer.shift} frames, against the whole utterance",
            )

    def test_streaming_at_once_gives_what_steps_give(self) -> None:
        import torch

        encoder = self._encoder()
        if not hasattr(encoder, "stream_at_once"):
            raise SkipTest("streaming is simulated by real steps: it has no stream_at_once")
        geometry: StreamingGeometry = encoder.geometry
        x = features(encoder, 2, geometry.overlap + _CHUNKS * geometry.shift)
        streamed, _ = stream(encoder, x, geometry)
        with torch.no_grad():
            at_once, at_once_lens = encoder.stream_at_once(x, lengths(x))
        require(
            at_once_lens.tolist() == [streamed.size(1)] * 2,
            f"{_CHUNKS} steps give {streamed.size(1)} frames, stream_at_once says "
            f"{at_once_lens.tolist()}",
        )
        self._compare(
            at_once[:, : streamed.size(1)],
            streamed,
            f"stream_at_once on {_CHUNKS} steps of {geometry.shift} frames, against the steps",
        )

    def test_states_keep_their_names_shapes_and_order(self) -> None:
        import torch

        encoder = self._encoder()
        geometry: StreamingGeometry = encoder.geometry
        for streams in (1, _STREAMS):
            before = encoder.init_states(streams)
            self._check_first_states(encoder, before, streams)
            shapes = {name: (state.shape, state.dtype) for name, state in before.items()}
            x = features(encoder, streams, geometry.segment)
            with torch.no_grad():
                _, _, after = encoder.stream(x, lengths(x), before)
            require(
                list(shapes) == list(after),
                f"the states are {list(shapes)}, and after a step {list(after)}",
            )
            for name, (shape, dtype) in shapes.items():
                require(
                    (after[name].shape, after[name].dtype) == (shape, dtype),
                    f"the state {name!r} is {tuple(shape)} {dtype}, and after a step "
                    f"{tuple(after[name].shape)} {after[name].dtype}",
                )

    def test_a_step_leaves_its_inputs_alone(self) -> None:
        import torch

        encoder = self._encoder()
        geometry: StreamingGeometry = encoder.geometry
        x = features(encoder, 1, geometry.segment)
        with torch.no_grad():
            _, _, states = encoder.stream(x, lengths(x), encoder.init_states(1))
            inputs = {"features": x, **states}
            copies = {name: tensor.clone() for name, tensor in inputs.items()}
            encoder.stream(x, lengths(x), states)
        changed = [name for name, one in inputs.items() if not torch.equal(one, copies[name])]
        require(not changed, f"a step writes into what it was given: {names_of(changed)}")

    def test_it_answers_the_same_every_time(self) -> None:
        import torch

        encoder = self._encoder()
        geometry: StreamingGeometry = encoder.geometry
        x = features(encoder, 2, geometry.overlap + 3 * geometry.shift)
        before = torch.random.get_rng_state()
        answers = [(run(encoder, x)[0], stream(encoder, x, geometry)[0]) for _ in range(2)]
        require(
            torch.equal(before, torch.random.get_rng_state()),
            "in eval mode it draws random numbers",
        )
        for first, second in zip(*answers, strict=True):
            require(
                torch.equal(first, second), "in eval mode it answers differently the second time"
            )
        again = self._encoder()
        require(
            torch.equal(answers[0][0], run(again, x)[0]),
            "built twice from the same seed, it is another encoder: does it draw random numbers "
            "that torch does not know of?",
        )
        other, _ = run(encoder, features(encoder, 2, x.size(1), seed=1))
        require(
            not torch.allclose(answers[0][0], other), "its answer does not depend on what it hears"
        )

    def test_gradients_reach_every_parameter(self) -> None:
        import torch

        encoder = self._encoder().train()
        geometry: StreamingGeometry = encoder.geometry
        parameters = dict(encoder.named_parameters())
        frames = geometry.overlap + 6 * geometry.shift
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            # More than once, because a layer may be left out at random in training.
            for attempt in range(_ATTEMPTS):
                x = features(encoder, 2, frames, seed=attempt)
                y, _ = encoder(x, lengths(x))
                (y * torch.randn_like(y)).sum().backward()
        dead = [
            name
            for name, one in parameters.items()
            if one.requires_grad and (one.grad is None or not one.grad.any())
        ]
        unexpected = sorted(set(dead) - set(self.without_gradient))
        require(not unexpected, f"no gradient reaches {', '.join(unexpected)}")
        infinite = [
            name
            for name, one in parameters.items()
            if one.grad is not None and not one.grad.isfinite().all()
        ]
        require(not infinite, f"the gradient of {names_of(infinite)} is not finite")

    # What `EncoderConformance` adds.

    def whole(self, encoder: Any, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def sees_padding(self, frames: int) -> bool:
        raise NotImplementedError

    def _encoder(self) -> Any:
        raise NotImplementedError

    def _check_first_states(
        self, encoder: Any, states: Mapping[str, torch.Tensor], streams: int
    ) -> None:
        import torch

        for name, state in states.items():
            axis = stream_axis(encoder.state_batch_axis, name)
            require(
                state.dtype == torch.float32,
                f"the state {name!r} is {state.dtype}: runtimes carry float32",
            )
            require(
                state.dim() > axis and state.size(axis) == streams,
                f"the state {name!r} of {streams} streams has the shape {tuple(state.shape)}: "
                f"axis {axis} must count the streams",
            )
            require(not state.any(), f"the state {name!r} is not zero at the start of a stream")

    def _compare(self, actual: torch.Tensor, expected: torch.Tensor, what: str) -> None:
        check_close(actual, expected, what, tolerance=self.tolerance)
