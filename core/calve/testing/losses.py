"""Conformance tests of loss backends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from calve.protocols import LossBackend
from calve.registry.discovery import load_driver
from calve.testing.checks import require

if TYPE_CHECKING:
    import torch

__all__ = ["LossBackendConformance"]

_VOCAB = 5
_BLANK = 0
_FRAMES = (6, 3, 4)
_SYMBOLS = ((1, 2, 2, 4), (3,), ())
_TOLERANCE = 1e-4


class LossBackendConformance:
    """Tests of a driver in ``calve.loss_backends``, against the definition of the loss.

    Attributes:
      backend: Name of the driver.
    """

    backend: ClassVar[str]

    def load(self) -> LossBackend:
        """The backend."""
        made: LossBackend = load_driver("calve.loss_backends", self.backend)()
        return made

    def test_the_simple_loss_is_that_of_all_alignments(self) -> None:
        batch = _Batch()
        loss = self._simple(batch)
        expected = batch.reference(_added(batch.am, batch.lm))
        _compare(loss, expected, "the simple loss")
        self._compare_gradients(loss, expected, batch.am, batch.lm)

    def test_the_pruned_loss_of_all_positions_is_that_of_all_alignments(self) -> None:
        import torch

        batch = _Batch()
        positions = batch.lm.size(1)
        ranges = torch.arange(positions).expand(len(_FRAMES), max(_FRAMES), positions)
        loss = self._pruned(batch, batch.logits, ranges.contiguous())
        expected = batch.reference(batch.logits)
        _compare(loss, expected, "the pruned loss")
        self._compare_gradients(loss, expected, batch.logits)

    def test_the_pruned_loss_counts_alignments_within_the_ranges_alone(self) -> None:
        import torch

        batch = _Batch()
        starts = torch.tensor([[0, 0, 1, 2, 2, 2], [0] * 6, [0] * 6])
        ranges = starts.unsqueeze(2) + torch.arange(3)
        index = ranges.unsqueeze(3).expand(-1, -1, -1, _VOCAB)
        loss = self._pruned(batch, batch.logits.gather(2, index), ranges)
        expected = batch.reference(batch.logits, ranges)
        _compare(loss, expected, "the pruned loss of narrow ranges")
        self._compare_gradients(loss, expected, batch.logits)

    def test_what_cannot_be_aligned_costs_infinity_and_moves_nothing(self) -> None:
        import torch

        logits = torch.randn(1, 1, 2, _VOCAB, requires_grad=True)
        loss = self.load().rnnt_loss_pruned(
            logits=logits,
            symbols=torch.tensor([[1, 2, 3]]),
            ranges=torch.tensor([[[0, 1]]]),
            termination_symbol=_BLANK,
            boundary=torch.tensor([[0, 0, 3, 1]]),
            reduction="none",
        )
        require(
            loss.tolist() == [float("inf")],
            f"three symbols that two positions cannot hold cost {loss.tolist()}, not infinity",
        )
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        require(
            not bool(gradient.any()),
            "an utterance that cannot be aligned has a gradient: a batch would be spoilt by it",
        )

    def test_padding_does_not_matter(self) -> None:
        import torch

        losses = []
        for seed in (1, 2):
            batch = _Batch(padding_seed=seed)
            loss = self._simple(batch)
            losses.append(loss.detach())
            (gradient,) = torch.autograd.grad(loss.sum(), batch.am)
            for row, frames in zip(gradient, _FRAMES, strict=True):
                require(not row[frames:].any(), "the frames that pad an utterance have a gradient")
        _compare(losses[0], losses[1], "the loss with other numbers in the padding")

    def test_occupation_adds_up(self) -> None:
        batch = _Batch()
        px_grad, py_grad = self._occupation(batch)
        for row, (frames, symbols) in enumerate(zip(_FRAMES, _SYMBOLS, strict=True)):
            blanks = py_grad[row, : len(symbols) + 1, :frames].sum(0)
            emitted = px_grad[row, : len(symbols), :frames].sum(1)
            for sums, what in ((blanks, "by a blank every frame"), (emitted, "every symbol")):
                shown = [round(one, 3) for one in sums.tolist()]
                require(
                    bool(((sums - 1).abs() < _TOLERANCE).all()),
                    f"alignments leave {what} once; the probabilities add up to {shown}",
                )

    def test_ranges_are_connected_and_reach_the_end(self) -> None:
        batch = _Batch()
        for width in (2, 3, 9):
            ranges = self.load().get_rnnt_prune_ranges(
                *self._occupation(batch), batch.boundary, width
            )
            kept = min(width, max(map(len, _SYMBOLS)) + 1)
            require(
                tuple(ranges.shape) == (len(_FRAMES), max(_FRAMES), kept),
                f"ranges of {width} positions have the shape {tuple(ranges.shape)}",
            )
            steps = ranges[:, 1:, 0] - ranges[:, :-1, 0]
            require(
                bool((steps >= 0).all() and (steps < max(kept, 2)).all()),
                f"ranges of {width} positions move by {steps.tolist()}",
            )
            require(
                bool((ranges[:, :, 1:] - ranges[:, :, :-1] == 1).all() and (ranges >= 0).all()),
                "the positions of a range do not follow one another",
            )
            for row, (frames, symbols) in enumerate(zip(_FRAMES, _SYMBOLS, strict=True)):
                last = ranges[row, frames - 1].tolist()
                require(len(symbols) in last, f"the last range {last} misses {len(symbols)}")

    def test_pruning_takes_what_the_ranges_name(self) -> None:
        import torch

        batch = _Batch()
        ranges = torch.tensor([[[0, 1]] * 2 + [[1, 2]] * 2 + [[3, 4]] * 2] * 3)
        am, lm = self.load().do_rnnt_pruning(am=batch.am, lm=batch.lm, ranges=ranges)
        for row in range(len(_FRAMES)):
            for frame in range(max(_FRAMES)):
                for place, position in enumerate(ranges[row, frame].tolist()):
                    require(
                        torch.equal(am[row, frame, place], batch.am[row, frame])
                        and torch.equal(lm[row, frame, place], batch.lm[row, position]),
                        f"at frame {frame} and position {position} it takes other numbers",
                    )

    def test_reductions(self) -> None:
        batch = _Batch()
        each = self._simple(batch)
        _compare(self._simple(batch, reduction="sum"), each.sum(), "the sum of the losses")
        _compare(self._simple(batch, reduction="mean"), each.mean(), "the mean of the losses")

    def test_a_delay_penalty_favours_early_symbols(self) -> None:
        batch = _Batch()
        loss = self._simple(batch, delay_penalty=0.3)
        expected = batch.reference(_added(batch.am, batch.lm), delay_penalty=0.3)
        _compare(loss, expected, "the loss with a delay penalty")

    def _simple(self, batch: _Batch, **options: Any) -> torch.Tensor:
        loss: torch.Tensor = self.load().rnnt_loss_smoothed(
            **batch.simple_arguments(), **{"reduction": "none", **options}
        )
        return loss

    def _occupation(self, batch: _Batch) -> tuple[torch.Tensor, torch.Tensor]:
        _, (px_grad, py_grad) = self.load().rnnt_loss_smoothed(
            **batch.simple_arguments(), reduction="none", return_grad=True
        )
        return px_grad, py_grad

    def _pruned(self, batch: _Batch, logits: torch.Tensor, ranges: torch.Tensor) -> torch.Tensor:
        return self.load().rnnt_loss_pruned(
            logits=logits,
            symbols=batch.symbols,
            ranges=ranges,
            termination_symbol=_BLANK,
            boundary=batch.boundary,
            reduction="none",
        )

    def _compare_gradients(
        self, loss: torch.Tensor, expected: torch.Tensor, *inputs: torch.Tensor
    ) -> None:
        import torch

        weights = torch.tensor([1.0, 2.0, 3.0])
        actual = torch.autograd.grad((loss * weights).sum(), inputs)
        wanted = torch.autograd.grad((expected * weights).sum(), inputs)
        for one, other in zip(actual, wanted, strict=True):
            _compare(one, other, "the gradient")


class _Batch:
    """Three utterances with random numbers.

    Attributes:
      am: (B, T, V).
      lm: (B, S + 1, V).
      logits: (B, T, S + 1, V), of a joiner that is no sum.
      symbols: (B, S).
      boundary: (B, 4).
    """

    def __init__(self, padding_seed: int = 0) -> None:
        import torch

        size, positions = max(_FRAMES), max(map(len, _SYMBOLS)) + 1
        generator = torch.Generator().manual_seed(0)
        other = torch.Generator().manual_seed(padding_seed)
        rows = len(_FRAMES)
        self.am = torch.randn(rows, size, _VOCAB, generator=generator)
        self.lm = torch.randn(rows, positions, _VOCAB, generator=generator)
        self.logits = torch.randn(rows, size, positions, _VOCAB, generator=generator)
        self.symbols = torch.ones(rows, positions - 1, dtype=torch.int64)
        self.boundary = torch.zeros(rows, 4, dtype=torch.int64)
        for row, (frames, symbols) in enumerate(zip(_FRAMES, _SYMBOLS, strict=True)):
            self.boundary[row, 2:] = torch.tensor([len(symbols), frames])
            self.symbols[row, : len(symbols)] = torch.tensor(symbols, dtype=torch.int64)
            self.am[row, frames:] = torch.randn(size - frames, _VOCAB, generator=other)
        for numbers in (self.am, self.lm, self.logits):
            numbers.requires_grad_()

    def simple_arguments(self) -> dict[str, Any]:
        """Of the simple loss, without smoothing."""
        return {
            "lm": self.lm,
            "am": self.am,
            "symbols": self.symbols,
            "termination_symbol": _BLANK,
            "lm_only_scale": 0.0,
            "am_only_scale": 0.0,
            "boundary": self.boundary,
        }

    def reference(
        self,
        logits: torch.Tensor,
        ranges: torch.Tensor | None = None,
        delay_penalty: float = 0.0,
    ) -> torch.Tensor:
        """The loss by its definition: a sum over all alignments, frame by frame in float64."""
        import torch

        log_probs = logits.double().log_softmax(-1)
        losses = []
        for row, (frames, symbols) in enumerate(zip(_FRAMES, _SYMBOLS, strict=True)):
            score = {0: torch.zeros((), dtype=torch.float64)}
            for frame in range(frames):
                allowed = range(len(symbols) + 1)
                if ranges is not None:
                    allowed = range(*_ends(ranges[row, frame].tolist(), len(symbols)))
                bonus = delay_penalty * ((frames - 1) / 2 - frame)
                score = {at: one for at, one in score.items() if at in allowed}
                for position in allowed:
                    if position - 1 in score:
                        arc = log_probs[row, frame, position - 1, symbols[position - 1]] + bonus
                        entering = score[position - 1] + arc
                        score[position] = (
                            torch.logaddexp(score[position], entering)
                            if position in score
                            else entering
                        )
                score = {at: one + log_probs[row, frame, at, _BLANK] for at, one in score.items()}
            losses.append(-score[len(symbols)])
        return torch.stack(losses).float()


def _ends(positions: list[int], symbols: int) -> tuple[int, int]:
    return positions[0], min(positions[-1], symbols) + 1


def _added(am: torch.Tensor, lm: torch.Tensor) -> torch.Tensor:
    return am.unsqueeze(2) + lm.unsqueeze(1)


def _compare(actual: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    require(
        actual.shape == expected.shape,
        f"{what} has the shape {tuple(actual.shape)}, not {tuple(expected.shape)}",
    )
    error = float((actual.detach() - expected.detach()).abs().max())
    require(
        error <= _TOLERANCE,
        f"{what} is {actual.detach().flatten()[:4].tolist()}, by definition "
        f"{expected.detach().flatten()[:4].tolist()}",
    )
