"""Transforms that know the field: spins turn by exp(+2 pi i f t) while k-space is read.

The exponential over voxels and samples is a short sum of products: images turned to a few fixed times, and
weights of the samples between these times. How many is chosen by the largest error that any frequency of the
map makes at any sample. Times count from the centre of the RF pulse, so the image is the magnetisation
right after it.

Not modelled: decay during the readout (``recon.psf`` states what it does), frequencies that change over a
voxel, concomitant gradients.

``OffResonanceTransform`` stands where a ``NonUniformTransform`` may: in adjoint, forward, ``SenseEncoding``
and ``cg_sense``, also with ``toeplitz=True``. Where spokes sway far in the field (its gradient times the
readout is not small against the spoke) density weights do not fit the places that were sampled: use CG-SENSE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from recon.toeplitz import ToeplitzNormal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.nufft import NonUniformTransform

#: Default largest error of the turning exponential: beside it the transform's own 2e-4 does not count.
TOLERANCE: Final = 1e-3
#: Frequencies per turn of the whole readout at which the weights are fitted; the error is looked at on four
#: times as many. Both lie closer at the ends of the range, where the error is largest.
_PER_TURN: Final = 8
#: Segments beyond which the field is hopeless for this readout.
_MOST: Final = 200


@dataclass(frozen=True, slots=True, eq=False)
class TimeSegments:
    """A separable approximation of exp(2 pi i (f - centre) t).

    Parameters
    ----------
    times
        Of the segments in s, shape (segment,).
    weights
        Real, shape (segment, sample).
    centre
        Frequency in Hz that is taken out exactly.
    error
        Largest error over the samples and the range of frequencies.
    """

    times: NDArray[np.float64]
    weights: NDArray[np.float64]
    centre: float
    error: float


def segment_readout(
    times: NDArray[np.float64], lowest: float, highest: float, *, tolerance: float = TOLERANCE
) -> TimeSegments:
    """Return the fewest segments that keep the tolerance for a range of frequencies.

    Parameters
    ----------
    times
        Of the samples in s, shape (sample,).
    lowest, highest
        Range of the frequencies in Hz.
    tolerance
        Largest error of the exponential; an image's samples are then off by at most its integral times it.

    Raises
    ------
    ValueError
        The range is upside down, or more than 200 segments would be needed.

    Notes
    -----
    Noll et al., IEEE Trans Med Imaging 10:629 (1991); least-squares weights: Sutton et al., IEEE Trans Med
    Imaging 22:178 (2003). Over a symmetric range they are real.
    """
    if not highest >= lowest:
        raise ValueError(f"frequencies from {lowest:g} to {highest:g} Hz are no range")
    first, last = float(times.min()), float(times.max())
    half = 0.5 * (highest - lowest)
    turns = 2 * half * (last - first)
    points = max(8, int(np.ceil(_PER_TURN * turns)))
    fitted = half * np.cos(np.pi * np.arange(points + 1) / points)
    judged = half * np.cos(np.pi * np.arange(4 * points + 1) / (4 * points))
    wanted, truth = _turns(fitted, times), np.exp(2j * np.pi * np.outer(judged, times))
    # Fewer segments than turns never suffice.
    for count in range(max(1, int(turns)), _MOST + 1):
        nodes = _nodes(first, last, count)
        weights = np.asarray(np.linalg.lstsq(_turns(fitted, nodes), wanted, rcond=1e-9)[0], dtype=np.float64)
        error = float(np.max(np.abs(np.exp(2j * np.pi * np.outer(judged, nodes)) @ weights - truth)))
        if error <= tolerance:
            return TimeSegments(nodes, weights, 0.5 * (lowest + highest), error)
    raise ValueError(
        f"frequencies over {2 * half:.4g} Hz turn {turns:.0f} times during the readout: more than {_MOST} "
        "segments are needed. Shim, or shorten the readout"
    )


class OffResonanceTransform:
    """A non-uniform transform in a field that is not uniform.

    Parameters
    ----------
    transform
        Without field; its positions run over (spoke, sample).
    frequency
        Off-resonance in Hz, shape (z, y, x); ``FieldMap.filled()``.
    times
        Of the samples of a spoke in s after the centre of the RF pulse, shape (sample,).
    tolerance
        Largest error of the turning exponential.

    Raises
    ------
    ValueError
        Shapes do not match, or the field needs too many segments.
    """

    def __init__(
        self,
        transform: NonUniformTransform,
        frequency: NDArray[np.float64],
        times: NDArray[np.float64],
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        if frequency.shape != transform.grid.shape or transform.points % times.size:
            raise ValueError(
                f"a field of shape {transform.grid.shape} and times that divide {transform.points} points "
                f"expected, got {frequency.shape} and {times.size}"
            )
        self.transform = transform
        self.frequency, self.times, self.tolerance = frequency, times, tolerance
        self.segments = segment_readout(
            times, float(frequency.min()), float(frequency.max()), tolerance=tolerance
        )
        shifted = frequency - self.segments.centre
        self._spokes = transform.points // times.size
        self._turned = [
            np.exp(2j * np.pi * shifted * time).astype(np.complex64) for time in self.segments.times
        ]
        carrier = np.exp(2j * np.pi * self.segments.centre * times)
        self._factors = (self.segments.weights * carrier).astype(np.complex64)

    @property
    def grid(self) -> Grid:
        """Where the image's voxels are."""
        return self.transform.grid

    @property
    def points(self) -> int:
        """Number of k-space positions."""
        return self.transform.points

    def batches(self, channels: int) -> list[slice]:
        """Return slices of channels that go through the back end together."""
        return self.transform.batches(channels)

    def forward(self, images: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return ∫ images exp(2 pi i f t) exp(-2 pi i k·r), complex64, shape (channel, point).

        Parameters
        ----------
        images
            Shape (channel, z, y, x).
        """
        total = np.zeros((len(images), self.points), dtype=np.complex64)
        for turned, factors in zip(self._turned, self._factors, strict=True):
            total += self.transform.forward(images * turned) * np.tile(factors, self._spokes)
        return total

    def adjoint(
        self, samples: NDArray[np.complex64], weights: NDArray[np.float32] | None = None
    ) -> NDArray[np.complex64]:
        """Return the sum over samples w s exp(-2 pi i f t) exp(+2 pi i k·r), complex64, (channel, z, y, x).

        Parameters
        ----------
        samples
            Shape (channel, ...).
        weights
            Volume elements in 1/m³, one per position; None: the samples are weighted already.
        """
        flat = np.asarray(samples).reshape(len(samples), -1)
        if weights is not None:
            flat = flat * np.ravel(weights)
        images = np.zeros((len(flat), *self.grid.shape), dtype=np.complex64)
        for turned, factors in zip(self._turned, self._factors, strict=True):
            images += turned.conj() * self.transform.adjoint(flat * np.tile(factors.conj(), self._spokes))
        return images

    def normal(
        self, images: NDArray[np.complex64], weights: NDArray[np.float32] | None = None
    ) -> NDArray[np.complex64]:
        """Return the adjoint of the weighted forward transform, shape (channel, z, y, x).

        Parameters
        ----------
        images
            Shape (channel, z, y, x).
        weights
            Volume elements in 1/m³, one per position; None: ones.
        """
        return self.adjoint(self.forward(images), weights)


class OffResonanceNormal:
    """The weighted normal operator of a transform in a field, by convolutions.

    It depends on differences of frequencies only, so it is a sum of convolutions between images that are
    turned to a few times, of twice the range. Hermitian, because the segments' weights are real.

    Parameters
    ----------
    transform
        In its field.
    weights
        Volume elements in 1/m³, one per position, any shape.

    Notes
    -----
    Fessler et al., IEEE Trans Signal Process 53:3393 (2005).
    """

    def __init__(self, transform: OffResonanceTransform, weights: NDArray[np.float32]) -> None:
        span = float(np.ptp(transform.frequency))
        segments = segment_readout(transform.times, -span, span, tolerance=transform.tolerance)
        spokes = transform.points // transform.times.size
        shares = np.ravel(weights).reshape(spokes, -1)
        middle = 0.5 * (float(transform.frequency.min()) + float(transform.frequency.max()))
        self._turned = [
            np.exp(2j * np.pi * (transform.frequency - middle) * time).astype(np.complex64)
            for time in segments.times
        ]
        self._convolutions = [
            ToeplitzNormal(transform.transform, (shares * factors).astype(np.float32))
            for factors in segments.weights
        ]

    def normal(
        self, image: NDArray[np.complex64], sensitivities: NDArray[np.complex64]
    ) -> NDArray[np.complex64]:
        """Return the sum over channels of S* F* W F (S x), shape (z, y, x), as ``ToeplitzNormal`` does."""
        result = np.zeros(image.shape, dtype=np.complex64)
        for turned, convolution in zip(self._turned, self._convolutions, strict=True):
            result += turned.conj() * convolution.normal(image * turned, sensitivities)
        return result


def _nodes(first: float, last: float, count: int) -> NDArray[np.float64]:
    """Return half even, half Chebyshev points: even ones need weights of 400 for 20 turns, these 1.2."""
    if count == 1:
        return np.array([0.5 * (first + last)])
    even = np.linspace(-1.0, 1.0, count)
    chebyshev = -np.cos((2 * np.arange(count) + 1) * np.pi / (2 * count))
    return 0.5 * (first + last) + 0.25 * (last - first) * (even + chebyshev)


def _turns(frequencies: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cosines above sines of 2 pi f t, shape (2 frequency, time)."""
    angle = 2 * np.pi * np.outer(frequencies, times)
    return np.concatenate([np.cos(angle), np.sin(angle)])
