"""Log probabilities of the arcs of a transducer lattice, from network outputs.

Shapes: B utterances, S symbols at most, T frames at most, V symbols in the vocabulary, r the width
of the pruned range. All functions return ``px`` and ``py`` as `calve_transducer.losses.lattice`
takes them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from calve.api import ConfigError

__all__ = [
    "RNNT_TYPES",
    "get_rnnt_logprobs",
    "get_rnnt_logprobs_joint",
    "get_rnnt_logprobs_pruned",
    "get_rnnt_logprobs_smoothed",
]

RNNT_TYPES = ("regular", "modified", "constrained")


def get_rnnt_logprobs(
    lm: Tensor,
    am: Tensor,
    symbols: Tensor,
    termination_symbol: int,
    rnnt_type: str = "regular",
    boundary: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Arcs of the simple joiner ``softmax(am[t] + lm[s])``, never formed as (B, T, S + 1, V).

    Args:
      lm: Decoder's unnormalized log probabilities, (B, S + 1, V).
      am: Encoder's unnormalized log probabilities, (B, T, V).
      symbols: (B, S) int64.
      termination_symbol: Id of blank.
      rnnt_type: "regular", "modified", or "constrained" (modified, and a symbol also pays for the
        blank of its frame).
      boundary: (B, 4), see `lattice_score`; None if nothing is padding.
    """
    px, py = _Simple(lm, am, symbols, termination_symbol).joint()
    return _as_lattice(px, py, boundary, rnnt_type)


def get_rnnt_logprobs_smoothed(
    lm: Tensor,
    am: Tensor,
    symbols: Tensor,
    termination_symbol: int,
    lm_only_scale: float = 0.1,
    am_only_scale: float = 0.1,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
) -> tuple[Tensor, Tensor]:
    """`get_rnnt_logprobs` interpolated with the probabilities of either network alone.

    The scores of the acoustic network alone are normalized with the average unigram of the decoder
    over the batch, including padding. The smoothed lattice is not a probability distribution; it
    serves to choose the pruned ranges (Kuang et al. 2022, "Pruned RNN-T for fast, memory-efficient
    ASR training").

    Args:
      lm_only_scale: Weight of the decoder's own probabilities.
      am_only_scale: Weight of the encoder's own probabilities.
    """
    simple = _Simple(lm, am, symbols, termination_symbol)
    terms = [(1.0 - lm_only_scale - am_only_scale, simple.joint)]
    if lm_only_scale:
        terms.append((lm_only_scale, simple.lm_only))
    if am_only_scale:
        terms.append((am_only_scale, simple.am_only))
    arcs = [(scale, *term()) for scale, term in terms]
    px = sum(scale * px for scale, px, _ in arcs)
    py = sum(scale * py for scale, _, py in arcs)
    assert isinstance(px, Tensor)
    assert isinstance(py, Tensor)
    return _as_lattice(px, py, boundary, rnnt_type)


def get_rnnt_logprobs_joint(
    logits: Tensor,
    symbols: Tensor,
    termination_symbol: int,
    rnnt_type: str = "regular",
    boundary: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Arcs of a full joiner's output, logits (B, T, S + 1, V)."""
    following = _with_terminal(symbols, termination_symbol)
    index = following.unsqueeze(1).expand(logits.shape[:3])
    px, py = _pick_log_probs(logits, index, termination_symbol)
    return _as_lattice(px.transpose(1, 2)[:, :-1], py.transpose(1, 2), boundary, rnnt_type)


def get_rnnt_logprobs_pruned(
    logits: Tensor,
    symbols: Tensor,
    ranges: Tensor,
    termination_symbol: int,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
) -> tuple[Tensor, Tensor]:
    """Arcs of a joiner's output on pruned ranges; arcs outside the ranges are -inf.

    Args:
      logits: (B, T, r, V).
      ranges: (B, T, r) int64, the symbol positions that were kept, from `get_rnnt_prune_ranges`.
    """
    batch_size, num_frames, _ = ranges.shape
    following = _with_terminal(symbols, termination_symbol)
    index = following.unsqueeze(1).expand(-1, num_frames, -1).gather(2, ranges)
    px, py = _pick_log_probs(logits, index, termination_symbol)
    outside = logits.new_full((batch_size, num_frames, symbols.shape[1] + 1), -math.inf)
    px = outside.scatter(2, ranges, px).transpose(1, 2)[:, :-1]
    py = outside.scatter(2, ranges, py).transpose(1, 2)
    return _as_lattice(px, py, boundary, rnnt_type)


def _as_lattice(
    px: Tensor, py: Tensor, boundary: Tensor | None, rnnt_type: str
) -> tuple[Tensor, Tensor]:
    if rnnt_type == "constrained":
        return px + py[:, 1:], py
    if rnnt_type == "modified":
        return px, py
    if rnnt_type != "regular":
        raise ConfigError(
            f"there is no rnnt_type {rnnt_type!r}", fix=f"choose one of {', '.join(RNNT_TYPES)}"
        )
    # After an utterance's last frame no symbol can be emitted.
    px = torch.nn.functional.pad(px, (0, 1), value=-math.inf)
    if boundary is not None:
        after = boundary[:, 3].reshape(-1, 1, 1).expand(-1, px.shape[1], 1)
        px = px.scatter(2, after, -math.inf)
    return px, py


def _with_terminal(symbols: Tensor, termination_symbol: int) -> Tensor:
    return torch.nn.functional.pad(symbols, (0, 1), value=termination_symbol)


class _Simple:
    """The three readings of (lm, am) that the smoothed loss mixes; all are (B, S[+1], T)."""

    def __init__(self, lm: Tensor, am: Tensor, symbols: Tensor, termination_symbol: int) -> None:
        self._symbols = symbols
        self._blank = termination_symbol
        self._lm, self._am = lm, am
        # Subtracting the maxima keeps the exponentials from overflowing.
        self._lm_max = lm.max(dim=2, keepdim=True).values
        self._am_max = am.max(dim=2, keepdim=True).values
        self._lm_probs = (lm - self._lm_max).exp()
        self._am_probs = (am - self._am_max).exp()
        self._tiny = torch.finfo(lm.dtype).tiny

    def joint(self) -> tuple[Tensor, Tensor]:
        """``log_softmax(am[t] + lm[s])``; its normalizer is one matrix product."""
        normalizers = (self._lm_probs @ self._am_probs.mT + self._tiny).log()
        normalizers = normalizers + self._lm_max + self._am_max.mT
        px = self._am_symbols() + self._lm_symbols() - normalizers[:, :-1]
        py = self._am_blank() + self._lm[:, :, self._blank, None] - normalizers
        return px, py

    def lm_only(self) -> tuple[Tensor, Tensor]:
        """``log_softmax(lm[s])``, the same at every frame."""
        normalizers = self._lm_probs.sum(dim=2, keepdim=True).log() + self._lm_max
        px = self._lm_symbols() - normalizers[:, :-1]
        py = self._lm[:, :, self._blank, None] - normalizers
        return px, py

    def am_only(self) -> tuple[Tensor, Tensor]:
        """``log_softmax(am[t] + log unigram)``, the same at every symbol position."""
        unigram = self._lm_probs / self._lm_probs.sum(dim=2, keepdim=True)
        unigram = unigram.mean(dim=(0, 1)) + self._tiny
        normalizers = ((self._am_probs @ unigram).unsqueeze(2) + self._tiny).log() + self._am_max
        prior = unigram.log()
        px = self._am_symbols() + prior[self._symbols].unsqueeze(2) - normalizers.mT
        py = self._am_blank() + prior[self._blank] - normalizers.mT
        return px, py

    def _am_symbols(self) -> Tensor:
        index = self._symbols.unsqueeze(1).expand(-1, self._am.shape[1], -1)
        return self._am.gather(2, index).mT

    def _lm_symbols(self) -> Tensor:
        return self._lm[:, :-1].gather(2, self._symbols.unsqueeze(2))

    def _am_blank(self) -> Tensor:
        return self._am[:, None, :, self._blank]


def _pick_log_probs(
    logits: Tensor, index: Tensor, termination_symbol: int
) -> tuple[Tensor, Tensor]:
    """``log_softmax(logits)`` at ``index`` and at the blank, both shaped as ``index``."""
    return _PickLogProbs.apply(  # type: ignore[no-any-return, no-untyped-call]
        logits, index, termination_symbol
    )


class _PickLogProbs(torch.autograd.Function):
    """log_softmax of two entries per position, with one tensor of logits' size in backward.

    Autograd's own composition of logsumexp and two gathers holds four of them.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, index: Tensor, termination_symbol: int
    ) -> tuple[Tensor, Tensor]:
        normalizers = logits.logsumexp(dim=3)
        px = logits.gather(3, index.unsqueeze(3)).squeeze(3) - normalizers
        py = logits[..., termination_symbol] - normalizers
        ctx.save_for_backward(logits, normalizers, index)
        ctx.termination_symbol = termination_symbol
        return px, py

    @staticmethod
    def backward(ctx: Any, px_grad: Tensor, py_grad: Tensor) -> tuple[Tensor, None, None]:
        logits, normalizers, index = ctx.saved_tensors
        grad = (logits - normalizers.unsqueeze(3)).exp_().mul_(-(px_grad + py_grad).unsqueeze(3))
        grad.scatter_add_(3, index.unsqueeze(3), px_grad.unsqueeze(3))
        grad[..., ctx.termination_symbol] += py_grad
        return grad, None, None
