"""How even an image of a uniform phantom is, with and without the share that noise alone makes.

Percent integral uniformity: PIU = 100 (1 - (max - min) / (max + min)) over means of small regions (1 cm², or
1 cm³ of a volume) inside the phantom. The extremes of noisy means are apart even when the object is uniform,
so the plain PIU of a low-SNR image measures noise. The corrected one is that of a low-order surface through
the voxels, its order chosen by what the noise allows to be told, its own noise taken off.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.fft
import scipy.stats
from numpy.polynomial import legendre

from coilbench.base.errors import MeasurementError
from recon.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: Names what computes the numbers below; counted up whenever they change.
ALGORITHM: Final = "uniformity"
VERSION: Final = "1"
#: Area in m² of a region of an image of one slice: ACR Large Phantom Test Guidance, section 5.3.
REGION_AREA: Final = 1e-4
#: Volume in m³ of a region of a volume: the same extent along the third axis.
REGION_VOLUME: Final = 1e-6
#: Fraction of the phantom's volume in which uniformity is stated: NEMA MS 3 asks for at least 75 %.
CENTRAL_FRACTION: Final = 0.8
#: A surface of a higher order starts to follow the noise: Legendre order 4 is that of a loop's far side.
_LARGEST_ORDER: Final = 4
#: Chance of taking an order that is not there.
_SIGNIFICANCE: Final = 0.01
#: Draws of the surface's noise: their deviation is known to 5 %.
_DRAWS: Final = 200


@dataclass(frozen=True, slots=True)
class Uniformity:
    """Percent integral uniformity of an image.

    Parameters
    ----------
    raw
        Of the image as it is, in percent; lowered by noise.
    corrected
        Of the surface through it, in percent; 100 for a uniform object at any SNR.
    uncertainty
        Standard uncertainty of ``corrected`` from noise, in percent.
    expected_of_noise
        What a perfectly uniform object of the same noise would give as ``raw``, in percent.
    order
        Of the surface: 0 when the image cannot be told from a uniform one.
    regions
        Regions whose means were compared.
    """

    raw: float
    corrected: float
    uncertainty: float
    expected_of_noise: float
    order: int
    regions: int


def central_region(
    grid: Grid, centre: tuple[float, float, float], radius: float, *, fraction: float = CENTRAL_FRACTION
) -> NDArray[np.bool_]:
    """Return the voxels in the central ``fraction`` of a ball's volume, shape (z, y, x).

    In an image of one slice it is the central fraction of the disk's area.

    Parameters
    ----------
    grid
        Where the voxels are.
    centre
        (x, y, z) in m.
    radius
        In m.
    fraction
        In (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"a fraction of the phantom lies in (0, 1], got {fraction}")
    flat = grid.shape[0] == 1
    return np.asarray(grid.distances(centre) <= radius * fraction ** (1 / 2 if flat else 1 / 3))


def integral_uniformity(values: NDArray[np.float64]) -> float:
    """Return 100 (1 - (max - min) / (max + min)) of region means, in percent.

    Raises
    ------
    MeasurementError
        The largest and smallest mean do not add to something positive: there is no signal.
    """
    high, low = float(np.max(values)), float(np.min(values))
    if high + low <= 0:
        raise MeasurementError("uniformity needs signal: the regions' means are not positive")
    return 100 * (1 - (high - low) / (high + low))


def uniformity(
    image: NDArray[np.float32],
    grid: Grid,
    region: NDArray[np.bool_],
    *,
    deviation: float | NDArray[np.float32],
    channels: int | None = None,
    independent_fraction: float = 1.0,
    seed: int = 0,
) -> Uniformity:
    """Return the percent integral uniformity, raw and corrected for noise.

    Parameters
    ----------
    image
        Real, or a magnitude, shape (z, y, x); one slice is judged by disks, several by balls.
    grid
        Where its voxels are.
    region
        Voxels of uniform content, shape (z, y, x) (``central_region``).
    deviation
        Standard deviation of the noise's real part, one number or shape (z, y, x).
    channels
        Whitened channels whose root of the sum of squares the image is; 1 for the magnitude of a complex
        image. Squares, less what noise adds to them, are then averaged: right at an SNR of 1, too.
        None for an image whose noise has no mean.
    independent_fraction
        Independent voxels over voxels.
    seed
        Of the draws for the uncertainty.

    Raises
    ------
    MeasurementError
        The region is smaller than a few of the regions whose means are compared, or holds no signal.
    """
    values, sigma = _without_noise_floor(np.asarray(image, dtype=np.float64), deviation, channels)
    power = channels is not None
    kernel = _kernel(grid)
    places = _means(region.astype(np.float64), kernel) > 1 - 1e-6
    places &= region
    count = int(places.sum())
    if count < 2:
        raise MeasurementError(
            "no two regions of 1 cm² (1 cm³) lie wholly inside the part of the phantom that is judged: use a "
            "larger phantom, or smaller margins"
        )
    raw = _uniformity_of(_means(np.where(region, values, 0), kernel)[places], power=power)
    surface = _Surface(values[region], sigma[region], grid, region, independent_fraction)
    basis = np.stack([_means(_scattered(term, region), kernel)[places] for term in surface.terms], axis=1)
    found = _uniformity_of(basis @ surface.coefficients, power=power)
    random = np.random.default_rng(seed)
    drawn = surface.draw(random, _DRAWS)
    spread = np.array([_uniformity_of(basis @ one, power=power) for one in drawn])
    level = np.full(grid.shape, float(np.average(values[region], weights=sigma[region] ** -2)))
    noise_only = [
        _uniformity_of(
            _means(np.where(region, level + sigma * random.standard_normal(grid.shape), 0), kernel)[places],
            power=power,
        )
        for _ in range(10)
    ]
    return Uniformity(
        raw=raw,
        # the draws lie as far below what was found as that lies below the truth, to first order
        corrected=min(100.0, found + (found - float(np.mean(spread)))) if surface.order else 100.0,
        uncertainty=max(float(np.std(spread)), surface.smallest_change(power=power)),
        expected_of_noise=float(np.mean(noise_only)),
        order=surface.order,
        regions=count,
    )


def _without_noise_floor(
    image: NDArray[np.float64], deviation: float | NDArray[np.float32], channels: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return unbiased values (the image, or its squares less their floor) and their deviation.

    Squares of n channels have the mean s² + 2 n sigma² and the variance 4 sigma² (s² + n sigma²).
    """
    sigma = np.broadcast_to(np.asarray(deviation, dtype=np.float64), image.shape)
    if channels is None:
        return image, sigma
    values = image**2 - 2 * channels * sigma**2
    smooth = max(float(np.median(values)), 0.0)
    return values, 2 * sigma * np.sqrt(np.maximum(smooth, 0) + channels * sigma**2)


def _uniformity_of(values: NDArray[np.float64], *, power: bool) -> float:
    return integral_uniformity(np.sqrt(np.maximum(values, 0)) if power else values)


class _Surface:
    """The lowest-order surface that explains values within their noise: sums of Legendre products.

    Orders are added while each makes the misfit smaller than noise alone would (chi-squared test).
    """

    def __init__(
        self,
        values: NDArray[np.float64],
        sigma: NDArray[np.float64],
        grid: Grid,
        region: NDArray[np.bool_],
        independent_fraction: float,
    ) -> None:
        weight = 1 / sigma
        self.order, self._fraction = 0, independent_fraction
        misfit = np.inf
        for order in range(_LARGEST_ORDER + 1):
            terms = np.stack(list(_terms(grid, region, order)), axis=1)
            if terms.shape[1] > 0.2 * values.size * independent_fraction and order:
                break
            scaled = terms * weight[:, None]
            coefficients, *_ = np.linalg.lstsq(scaled, values * weight, rcond=None)
            left = float(np.sum((values * weight - scaled @ coefficients) ** 2)) * independent_fraction
            added = terms.shape[1] - (self.terms.shape[0] if order else 0)
            if order and scipy.stats.chi2.sf(misfit - left, added) > _SIGNIFICANCE:
                # an even shape about the middle shows no odd order: look one further before giving up
                if order >= 2:
                    break
                continue
            misfit, self.order = left, order
            self.terms: NDArray[np.float64] = terms.T
            self.coefficients: NDArray[np.float64] = np.asarray(coefficients, dtype=np.float64)
            self._covariance = np.linalg.pinv(scaled.T @ scaled) / independent_fraction

    def draw(self, random: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Return ``count`` sets of coefficients as noise would have given them."""
        return random.multivariate_normal(self.coefficients, self._covariance, size=count, method="eigh")

    def smallest_change(self, *, power: bool) -> float:
        """Return the deviation in percent of the surface's mean level: no shape is known better."""
        relative = float(np.sqrt(self._covariance[0, 0])) / max(abs(float(self.coefficients[0])), 1e-300)
        return 100 * relative * (0.5 if power else 1.0)


def _terms(grid: Grid, region: NDArray[np.bool_], order: int) -> Iterator[NDArray[np.float64]]:
    """Yield all products of Legendre polynomials up to a total order over a region, shape (voxel,)."""
    axes = []
    for axis, (places, used) in enumerate(zip(grid.axes(), np.nonzero(region), strict=True)):
        low, high = places[used.min()], places[used.max()]
        half = max(0.5 * float(high - low), grid.spacing[axis])
        axes.append((places[used] - 0.5 * (low + high)) / half)
    degrees = range(order + 1)
    for one in product(*(degrees if np.ptp(axis) > 0 else (0,) for axis in axes)):
        if sum(one) <= order:
            values = np.ones(axes[0].size)
            for axis, degree in zip(axes, one, strict=True):
                values = values * legendre.legval(axis, np.eye(degree + 1)[degree])
            yield values


def _kernel(grid: Grid) -> NDArray[np.float64]:
    """Return the weights of one region, odd shape (z, y, x), sum 1: the voxels whose centres lie inside.

    A disk in the plane of a single slice, a ball in a volume; always the middle voxel at least.
    """
    flat = grid.shape[0] == 1
    radius = np.sqrt(REGION_AREA / np.pi) if flat else np.cbrt(3 * REGION_VOLUME / (4 * np.pi))
    count = [2 * int(radius // step) + 1 for step in grid.spacing]
    shape = (1 if flat else count[0], count[1], count[2])
    dz, dy, dx = (number * step for number, step in zip(shape, grid.spacing, strict=True))
    weights = (Grid(shape, (dz, dy, dx)).distances((0.0, 0.0, 0.0)) <= radius).astype(np.float64)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _means(values: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the kernel's mean around every voxel, same shape; zero outside the array."""
    shape = [
        scipy.fft.next_fast_len(a + b - 1, real=True) for a, b in zip(values.shape, kernel.shape, strict=True)
    ]
    spectrum = np.asarray(scipy.fft.rfftn(values, shape))
    spectrum *= np.asarray(scipy.fft.rfftn(kernel[::-1, ::-1, ::-1], shape))
    full = np.asarray(scipy.fft.irfftn(spectrum, shape))
    start = [size // 2 for size in kernel.shape]
    inner = tuple(slice(a, a + size) for a, size in zip(start, values.shape, strict=True))
    return np.asarray(full[inner], dtype=np.float64)


def _scattered(values: NDArray[np.float64], region: NDArray[np.bool_]) -> NDArray[np.float64]:
    full = np.zeros(region.shape)
    full[region] = values
    return full
