"""calve's filter banks as a lhotse feature extractor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from lhotse.features.base import FeatureExtractor, register_extractor

from calve.api import DataError
from calve.data.audio import Float32Array
from calve.data.features import FeatureConfig, compute_fbank

__all__ = ["CalveFbank", "CalveFbankConfig"]


@dataclass(frozen=True)
class CalveFbankConfig(FeatureConfig):
    """A `FeatureConfig` that lhotse can write to YAML."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CalveFbankConfig:
        """Inverse of `to_dict`."""
        return cls(**values)


@register_extractor
class CalveFbank(FeatureExtractor):  # type: ignore[misc]
    """What the device will compute, computed for training."""

    name = "calve-fbank"
    config_type = CalveFbankConfig

    @property
    def frame_shift(self) -> float:
        """Seconds between two frames."""
        return float(self.config.frame_shift_ms) / 1000

    def feature_dim(self, sampling_rate: int) -> int:
        """Number of mel bins, whatever the sampling rate."""
        return int(self.config.num_mel_bins)

    def extract(self, samples: np.ndarray | torch.Tensor, sampling_rate: int) -> Float32Array:
        """Features of one channel.

        Args:
          samples: (n,) or (1, n) floating point, full scale is [-1, 1].
          sampling_rate: Must be the configured one.

        Returns:
          (T, C) float32.

        Raises:
          DataError: if the rate or the number of channels does not fit.
        """
        samples = np.asarray(samples)
        if sampling_rate != self.config.sample_rate or samples.size != samples.shape[-1]:
            raise DataError(
                f"features are for one channel at {self.config.sample_rate} Hz, "
                f"not {samples.shape} at {sampling_rate} Hz"
            )
        return compute_fbank(samples.reshape(-1), self.config)

    @staticmethod
    def mix(
        features_a: np.ndarray, features_b: np.ndarray, energy_scaling_factor_b: float
    ) -> np.ndarray:
        """Log energies of a sum of two signals, the second one scaled."""
        energies = np.exp(features_a) + energy_scaling_factor_b * np.exp(features_b)
        return np.asarray(np.log(np.maximum(np.finfo(np.float32).eps, energies)))

    @staticmethod
    def compute_energy(features: np.ndarray) -> float:
        """Energy of a whole matrix of log energies."""
        return float(np.sum(np.exp(features), dtype=np.float64))
