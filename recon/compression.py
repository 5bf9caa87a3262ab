"""Coil compression: fewer virtual channels that hold nearly all of the signal.

Loop arrays see overlapping parts of the object, so 32 whitened channels carry the signal of about ten. The
virtual channels are orthonormal sums of the whitened ones: their noise stays white, of the same deviation, so
SNR units stay true. Buehrer et al., Magn Reson Med 57:1131 (2007); Huang et al., Magn Reson Imaging 26:133
(2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Samples per channel that the principal components are taken from: enough for 1e-2 of their directions.
_LARGEST_SAMPLE: Final = 200_000


@dataclass(frozen=True, slots=True, eq=False)
class Compression:
    """Virtual channels as sums of whitened ones.

    Parameters
    ----------
    matrix
        Orthonormal rows, complex64, shape (virtual, channel).
    kept
        Fraction of the signal's energy that the virtual channels hold, noise included.
    """

    matrix: NDArray[np.complex64]
    kept: float

    @property
    def channels(self) -> int:
        """Number of virtual channels."""
        return len(self.matrix)

    def apply(self, data: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return virtual channels of samples, images or sensitivities of shape (channel, ...).

        Raises
        ------
        ValueError
            The data are of another number of channels.
        """
        if len(data) != self.matrix.shape[1]:
            raise ValueError(f"data of {self.matrix.shape[1]} channels expected, got {len(data)}")
        flat = data.reshape(len(data), -1)
        result: NDArray[np.complex64] = self.matrix @ flat
        return result.reshape(self.channels, *data.shape[1:])


def principal_channels(
    samples: NDArray[np.complex64], weights: NDArray[np.floating[Any]], channels: int
) -> Compression:
    """Return the virtual channels with the most signal energy in the image.

    Weighted with the density, the energy in k-space is that of the images (Parseval), so what is lost is
    what the images lose.

    Parameters
    ----------
    samples
        Whitened, unweighted, shape (channel, ...).
    weights
        Volume elements (density weights), one per position, any shape and scale.
    channels
        Virtual channels wanted.

    Raises
    ------
    ValueError
        More virtual channels than channels, or weights of another size than the samples.
    """
    flat = samples.reshape(len(samples), -1)
    if not 1 <= channels <= len(flat):
        raise ValueError(f"1 to {len(flat)} virtual channels can be made of {len(flat)}, not {channels}")
    if weights.size != flat.shape[1]:
        raise ValueError(f"{flat.shape[1]} weights expected, got {weights.size}")
    stride = -(-flat.shape[1] // _LARGEST_SAMPLE) | 1  # odd, so that spokes of 2^n samples are not aliased
    chosen = flat[:, ::stride] * np.sqrt(weights.ravel()[::stride]).astype(np.float32)
    energy, directions = np.linalg.eigh((chosen @ chosen.conj().T).astype(np.complex128))
    kept = float(energy[-channels:].sum() / energy.sum())
    return Compression(directions[:, ::-1][:, :channels].conj().T.astype(np.complex64), kept)
