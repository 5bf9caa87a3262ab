"""Reconstruction while the scan runs: noise windows first, then spokes in any order.

Each batch of spokes is whitened, weighted and gridded on arrival and added to the channel images, so an
image can be had at any moment: what is left to do is one transform of all channels for the spokes of a
started batch, and nothing when there are none. The sum over batches is the reconstruction of the whole:
gridding is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.dataset import Dataset, Readout
from recon.density import Taper, spoke_weights, window
from recon.gridding import Gridder
from recon.noise import NoiseModel, NoiseScan, apply_channels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid

#: Samples of a batch for each voxel of the grid. Spreading an eighth takes about as long as the transform
#: that follows it; smaller batches need more transforms (measured at 64³ and 32 channels).
_BATCH_SAMPLES: Final = 1 / 8


@dataclass(frozen=True, slots=True, eq=False)
class ChannelImages:
    """Gridded images of all channels, in whitened units.

    Parameters
    ----------
    images
        complex64, shape (channel, z, y, x).
    grid
        Where the voxels are.
    noise_gain
        Standard deviation of the real part of the noise in every voxel of every channel, for whitened
        samples: sqrt(sum of squared weights).
    spokes
        Spokes that are in the images.
    positions
        k in 1/m of all samples, float32, shape (point, 3), in order of arrival.
    weights
        Density weights (window included) in 1/m³ of all samples, float32, shape (point,). Of a mean of scans
        over the root of their number: what noise sees; ``density`` is what signal sees.
    noise
        What the noise scan said; None when the data came whitened or without noise.
    averages
        Scans of the same trajectory that the images are the mean of.
    """

    images: NDArray[np.complex64]
    grid: Grid
    noise_gain: float
    spokes: int
    positions: NDArray[np.float32]
    weights: NDArray[np.float32]
    noise: NoiseModel | None
    averages: int = 1

    @property
    def density(self) -> NDArray[np.float32]:
        """Weights of one scan in 1/m³, shape (point,): the volume of k-space that each sample stands for."""
        return self.weights * np.float32(np.sqrt(self.averages))

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.images.shape[0])


class LiveReconstruction:
    """Grids centre-out spokes as they arrive.

    Parameters
    ----------
    grid
        Encoded matrix and field of view.
    filter_window
        Radial window on k-space: a name, or a filter (``recon.filter``).
    angles
        Relative solid angle of each planned spoke, by spoke number (``density.solid_angles``); None: equal.
    passband
        Central fraction of the noise scan's band in which its filter is flat; None: taken from the first
        spoke's fastest motion through k-space, at least a tenth.
    noise
        A noise model known beforehand; else noise windows must come before the first spoke.
    batch
        Spokes per transform; None: as many as hold a sample for every eighth voxel of the grid.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        filter_window: Taper = "hamming",
        angles: NDArray[np.float64] | None = None,
        passband: float | None = None,
        noise: NoiseModel | None = None,
        batch: int | None = None,
    ) -> None:
        if batch is not None and batch < 1:
            raise ValueError(f"a batch holds at least one spoke, got {batch}")
        self.grid = grid
        self._window: Taper = filter_window
        self._angles = angles
        self._passband = passband
        self._noise = noise
        self._windows: list[Readout] = []
        self._whitening: NDArray[np.complex128] | None = None
        self._batch = batch
        self._pending: list[Readout] = []
        self._gridder = Gridder(grid)
        self._images: NDArray[np.complex64] | None = None
        self._positions: NDArray[np.float32] = np.empty((0, 3), dtype=np.float32)
        self._weights: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._points = 0
        self._squares = 0.0
        self._share = 0.0
        self._spokes = 0

    @property
    def spokes(self) -> int:
        """Spokes fed so far."""
        return self._spokes + len(self._pending)

    @property
    def noise(self) -> NoiseModel | None:
        """What the noise scan said; None until the first spoke."""
        return self._noise

    def feed(self, acquisition: Any) -> None:  # noqa: ANN401 - ismrmrd is untyped
        """Take one ``ismrmrd.Acquisition``, noise or spoke."""
        self.feed_readout(Readout.from_acquisition(acquisition, self.grid))

    def feed_readout(self, readout: Readout) -> None:
        """Take one readout, noise or spoke.

        Raises
        ------
        MeasurementError
            A spoke comes before any noise, noise after the first spoke, or a spoke without trajectory.
        """
        if readout.is_noise:
            if self.spokes:
                raise MeasurementError("a noise window came after the first spoke: noise must come first")
            self._windows.append(readout)
            return
        if readout.positions is None:
            raise MeasurementError(f"spoke {readout.number} has no trajectory")
        if self._whitening is None:
            self._prepare(readout)
        self._pending.append(readout)
        if self._batch is None:
            voxels = int(np.prod(self.grid.shape))
            self._batch = max(1, int(voxels * _BATCH_SAMPLES / readout.samples.shape[1]))
        if len(self._pending) >= self._batch:
            self._grid_pending()

    def snapshot(self) -> ChannelImages:
        """Return the images of all spokes fed so far.

        Raises
        ------
        MeasurementError
            No spoke has come yet.
        """
        self._grid_pending()
        if self._images is None:
            raise MeasurementError("no spoke has been received yet")
        scale = 1.0 / self._share
        return ChannelImages(
            images=self._images * np.complex64(scale),
            grid=self.grid,
            noise_gain=float(np.sqrt(self._squares)) * scale,
            spokes=self._spokes,
            positions=self._positions[: self._points],
            weights=self._weights[: self._points] * np.float32(scale),
            noise=self._noise,
        )

    def _prepare(self, first: Readout) -> None:
        """Turn the noise windows into a whitening matrix, now that the imaged band is known."""
        if self._noise is None:
            if not self._windows:
                raise MeasurementError(
                    "a spoke came before any noise: send the noise scan first, or give a noise model"
                )
            passband = self._passband or _imaged_band(first, self.grid, self._windows[0].dwell_time)
            scan = NoiseScan(self._windows[0].dwell_time, passband=passband)
            for readout in self._windows:
                scan.add(readout.samples)
            self._noise = scan.model()
            self._windows.clear()
        self._whitening = self._noise.whitening(first.dwell_time)

    def _grid_pending(self) -> None:
        """Whiten, weight and grid the spokes that wait."""
        if not self._pending or self._whitening is None:
            return
        positions = np.stack([r.positions for r in self._pending if r.positions is not None])
        samples = np.stack([readout.samples for readout in self._pending], axis=1)
        radii = np.linalg.norm(positions, axis=-1)
        shares = self._shares()
        weights = (
            spoke_weights(radii) * window(radii, self.grid.nyquist, self._window) * shares[:, None]
        ).astype(np.float32)
        whitened = apply_channels(self._whitening, samples)
        whitened *= weights
        if self._images is None:
            self._images = np.zeros((whitened.shape[0], *self.grid.shape), dtype=np.complex64)
        self._gridder.add(self._images, positions, whitened)
        self._positions = _appended(self._positions, self._points, positions.reshape(-1, 3))
        self._weights = _appended(self._weights, self._points, weights.ravel())
        self._points += weights.size
        self._squares += float(np.sum(np.square(weights, dtype=np.float64)))
        self._share += float(np.sum(shares))
        self._spokes += len(self._pending)
        self._pending.clear()

    def _shares(self) -> NDArray[np.float64]:
        if self._angles is None:
            return np.ones(len(self._pending))
        return self._angles[[readout.number for readout in self._pending]]


def _appended(
    store: NDArray[np.float32], count: int, values: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Return ``store`` with ``values`` behind its first ``count`` entries, in more memory if it is full.

    What came before is left where it is, so that a snapshot needs no copy of it.
    """
    needed = count + len(values)
    if needed > len(store):
        grown = np.empty((max(needed, 2 * len(store)), *store.shape[1:]), dtype=np.float32)
        grown[:count] = store[:count]
        store = grown
    store[count:needed] = values
    return store


def reconstruct(
    dataset: Dataset,
    *,
    filter_window: Taper = "hamming",
    angles: NDArray[np.float64] | None = None,
    noise: NoiseModel | None = None,
    passband: float | None = None,
) -> ChannelImages:
    """Return the channel images of a whole centre-out radial scan, by one transform.

    Raises
    ------
    MeasurementError
        The dataset has neither noise nor a noise model, or no trajectory.
    """
    if dataset.trajectory is None:
        raise MeasurementError(f"{dataset.name} has no trajectory: it is no radial scan")
    spokes = dataset.trajectory.shape[0]
    live = LiveReconstruction(
        dataset.grid,
        filter_window=filter_window,
        angles=angles,
        noise=noise,
        passband=passband,
        batch=spokes,
    )
    if dataset.noise is not None and noise is None:
        for index in range(dataset.noise.shape[1]):
            live.feed_readout(Readout(dataset.noise[:, index], None, dataset.noise_dwell_time, is_noise=True))
    for index in range(spokes):
        live.feed_readout(
            Readout(
                dataset.samples[:, index],
                dataset.trajectory[index],
                dataset.dwell_time,
                is_noise=False,
                number=index,
            )
        )
    return live.snapshot()


def _imaged_band(spoke: Readout, grid: Grid, noise_dwell_time: float) -> float:
    """Return the fraction of the noise band in which the object's signal lies, between 0.1 and 0.5.

    Most of an image's noise comes from samples with large weights, so the speed |dk/dt| is averaged with
    squared weights; a voxel at the edge of the field of view turns at half the speed times its extent.
    """
    if spoke.positions is None:
        return 0.5
    radii = np.linalg.norm(spoke.positions, axis=-1)
    squared = spoke_weights(radii) ** 2
    speed = np.abs(np.gradient(radii)) / spoke.dwell_time
    band = float(np.sum(squared * speed) / np.sum(squared)) * max(grid.field_of_view)
    return float(np.clip(band * noise_dwell_time, 0.1, 0.5))
