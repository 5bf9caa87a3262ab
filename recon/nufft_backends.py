"""The ways a non-uniform transform is computed: finufft, our own kernels, ducc0, and the exact sum.

A back end is planned once for one set of phases 2 pi k spacing and then works on any number of channels. Its
sums carry no physical scale: that is added by ``recon.nufft``.

finufft is always run with ``upsampfac=2.0``: its automatic choice (1.25) in single precision gives 2e-3
instead of the requested 1e-4 on centre-heavy radial data (finufft pull request 651). ducc0 chooses its own
oversampling and is not affected (measured). ducc0 is GPL software and therefore never imported unless asked
for by name. Our own kernels (``recon.compiled``) need numba, which is not installed unless asked for either.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.compiled import is_numba_usable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

#: What can compute a transform; ``"direct"`` is the exact sum, for tests and small sizes.
BackendName = Literal["finufft", "numba", "ducc0", "direct"]

#: Oversampling of finufft's grid, its authors' safe choice in single precision (finufft pull request 651).
_UPSAMPLING: Final = 2.0
#: Channels per call: each call finds its fine grids anew (12 ms for 64³), each weighted batch is a copy.
_BATCH: Final = 8
#: Points per block of the exact sum: its factors then stay below 100 MB for 64³ (16 B per point and y, x).
_DIRECT_BLOCK: Final = 1024


class Backend(Protocol):
    """Sums over points and over voxels for one set of phases.

    Parameters
    ----------
    batch
        Channels that are worth handing over in one call.
    """

    batch: int

    def adjoint(
        self,
        samples: NDArray[np.complex64],
        weights: NDArray[np.float32] | None,
        out: NDArray[np.complex64],
        /,
    ) -> None:
        """Sum over points of w s exp(+i phase·index) into ``out``, shape (channel, z, y, x).

        Arrays are contiguous; ``samples`` has the shape (channel, point), ``weights`` has one number a point,
        None for ones.
        """

    def forward(
        self, images: NDArray[np.complex64], factor: np.float32, out: NDArray[np.complex64], /
    ) -> None:
        """Sum over voxels of rho exp(-i phase·index) times a factor into ``out``, shape (channel, point).

        Arrays are contiguous; ``images`` has the shape (channel, z, y, x).
        """


class FinufftBackend:
    """finufft (Apache-2.0), single precision.

    Parameters
    ----------
    shape
        Voxels along (z, y, x).
    phases
        2 pi k spacing along z, y and x, float32, shape (3, point).
    tolerance
        Requested relative accuracy.
    threads
        Threads to use.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        phases: NDArray[np.float32],
        *,
        tolerance: float,
        threads: int,
    ) -> None:
        self.batch = _BATCH
        self._shape = shape
        self._phases = phases
        self._tolerance = tolerance
        self._threads = threads
        self._plans: dict[tuple[int, int], Any] = {}

    def adjoint(
        self,
        samples: NDArray[np.complex64],
        weights: NDArray[np.float32] | None,
        out: NDArray[np.complex64],
        /,
    ) -> None:
        """Sum over points by a type 1 plan, made when so many channels first come."""
        for few, part in _weighted(samples, weights, self.batch):
            self._execute(1, few, out[part])

    def forward(
        self, images: NDArray[np.complex64], factor: np.float32, out: NDArray[np.complex64], /
    ) -> None:
        """Sum over voxels by a type 2 plan, made when so many channels first come."""
        for few, part in _scaled(images, factor, self.batch):
            self._execute(2, few, out[part])

    def _execute(self, kind: Literal[1, 2], data: NDArray[np.complex64], out: NDArray[np.complex64]) -> None:
        plan = self._plan(kind, len(data))
        if len(data) == 1:
            data, out = data[0], out[0]
        plan.execute(data, out=out)

    def _plan(self, kind: Literal[1, 2], channels: int) -> Any:  # noqa: ANN401 - finufft has no types
        if (kind, channels) not in self._plans:
            import finufft

            plan = finufft.Plan(
                kind,
                self._shape,
                n_trans=channels,
                eps=self._tolerance,
                isign=1 if kind == 1 else -1,
                dtype="complex64",
                upsampfac=_UPSAMPLING,
                nthreads=self._threads,
            )
            plan.setpts(*self._phases)
            self._plans[kind, channels] = plan
        return self._plans[kind, channels]


class Ducc0Backend:
    """ducc0 (GPL-2.0-or-later; extra ``ducc0``), single precision; faster than finufft.

    Parameters
    ----------
    shape
        Voxels along (z, y, x).
    phases
        Makes 2 pi k spacing along z, y and x, float32, shape (3, point). A plan has a sorted copy of its own,
        so they are not kept beside it.
    tolerance
        Requested relative accuracy.
    threads
        Threads to use.

    Raises
    ------
    MeasurementError
        ducc0 is not installed.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        phases: Callable[[], NDArray[np.float32]],
        *,
        tolerance: float,
        threads: int,
    ) -> None:
        self.batch = 1
        self._ducc0 = import_ducc0()
        self._shape = shape
        self._phases = phases
        self._first: NDArray[np.float32] | None = phases()
        self._tolerance = tolerance
        self._threads = threads
        self._plans: dict[bool, Any] = {}

    def adjoint(
        self,
        samples: NDArray[np.complex64],
        weights: NDArray[np.float32] | None,
        out: NDArray[np.complex64],
        /,
    ) -> None:
        """Sum over points, all channels with one plan's sorting of the points."""
        plan = self._plan(adjoint=True)
        for few, part in _weighted(samples, weights, self.batch):
            plan.nu2u(forward=False, points=few, out=out[part])

    def forward(
        self, images: NDArray[np.complex64], factor: np.float32, out: NDArray[np.complex64], /
    ) -> None:
        """Sum over voxels, with a plan of its own: ducc0 sorts points for one direction."""
        plan = self._plan(adjoint=False)
        for few, part in _scaled(images, factor, self.batch):
            plan.u2nu(forward=True, grid=few, out=out[part])

    def _plan(self, *, adjoint: bool) -> Any:  # noqa: ANN401 - ducc0 has no types
        if adjoint not in self._plans:
            phases = self._phases() if self._first is None else self._first
            self._first = None
            self._plans[adjoint] = self._ducc0.nufft.plan(
                nu2u=adjoint,
                coord=phases.T,
                grid_shape=self._shape,
                epsilon=self._tolerance,
                nthreads=self._threads,
            )
        return self._plans[adjoint]


class DirectSum:
    """The sums written out in double precision: exact, and slow (points times voxels).

    Parameters
    ----------
    shape
        Voxels along (z, y, x).
    phases
        2 pi k spacing along z, y and x, shape (3, point).
    """

    def __init__(self, shape: tuple[int, int, int], phases: NDArray[np.float32]) -> None:
        self.batch = _BATCH
        self._shape = shape
        self._phases = phases.astype(np.float64)

    def adjoint(
        self,
        samples: NDArray[np.complex64],
        weights: NDArray[np.float32] | None,
        out: NDArray[np.complex64],
        /,
    ) -> None:
        """Sum over points at every voxel, block by block of points."""
        nz, ny, nx = self._shape
        everything = (np.arange(nz), np.arange(ny), np.arange(nx))
        for few, part in _weighted(samples, weights, self.batch):
            out[part] = self.voxels(few, everything)

    def forward(
        self, images: NDArray[np.complex64], factor: np.float32, out: NDArray[np.complex64], /
    ) -> None:
        """Sum over all voxels, along z first, block by block of points."""
        planes = factor * images.astype(np.complex128).reshape(len(images), self._shape[0], -1)
        everything = [np.arange(count) for count in self._shape]
        for block in self._blocks():
            along_z, in_plane = self._factors(block, everything)
            summed = np.einsum("pz,czr->cpr", along_z.conj(), planes, optimize=True)
            out[:, block] = np.einsum("cpr,pr->cp", summed, in_plane.conj(), optimize=True)

    def voxels(
        self,
        samples: NDArray[np.complexfloating[Any, Any]],
        indices: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]],
    ) -> NDArray[np.complex128]:
        """Return the adjoint where chosen planes of z, y and x cross only.

        Parameters
        ----------
        samples
            Shape (channel, point).
        indices
            Voxel numbers along z, y and x.

        Returns
        -------
        Shape (channel, number of z, number of y, number of x).
        """
        sizes = [len(index) for index in indices]
        total = np.zeros((len(samples), sizes[0], sizes[1] * sizes[2]), dtype=np.complex128)
        for block in self._blocks():
            along_z, in_plane = self._factors(block, indices)
            for index, channel in enumerate(samples):
                total[index] += (channel[block, None] * along_z).T @ in_plane
        return total.reshape(len(samples), *sizes)

    def _blocks(self) -> list[slice]:
        points = self._phases.shape[1]
        return [slice(start, start + _DIRECT_BLOCK) for start in range(0, points, _DIRECT_BLOCK)]

    def _factors(
        self, block: slice, indices: Sequence[NDArray[np.intp]]
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Return exp(i phase index) along z, shape (point, z), and in the plane, shape (point, y·x)."""
        z, y, x = (
            np.exp(1j * np.outer(phase[block], index - count // 2))
            for phase, index, count in zip(self._phases, indices, self._shape, strict=True)
        )
        return z, (y[:, :, None] * x[:, None, :]).reshape(len(y), -1)


def _weighted(
    samples: NDArray[np.complex64], weights: NDArray[np.float32] | None, batch: int
) -> Iterator[tuple[NDArray[np.complex64], slice]]:
    """Yield all channels where they are weighted already, else a weighted copy of a batch at a time."""
    if weights is None:
        yield samples, slice(None)
        return
    for start in range(0, len(samples), batch):
        part = slice(start, start + batch)
        yield samples[part] * weights, part


def _scaled(
    images: NDArray[np.complex64], factor: np.float32, batch: int
) -> Iterator[tuple[NDArray[np.complex64], slice]]:
    """Yield a scaled copy of a batch of channels at a time, in the same memory."""
    copy = np.empty((min(len(images), batch), *images.shape[1:]), dtype=np.complex64)
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        few = images[part]
        yield np.multiply(few, factor, out=copy[: len(few)]), part


def plan_backend(
    name: BackendName,
    shape: tuple[int, int, int],
    phases: Callable[[], NDArray[np.float32]],
    *,
    tolerance: float,
    threads: int,
) -> Backend:
    """Return the back end of that name; ``phases`` makes them.

    Raises
    ------
    ValueError
        There is none of that name, or the phases are refused.
    MeasurementError
        numba or ducc0 is asked for and not installed.
    """
    if name == "finufft":
        return FinufftBackend(shape, phases(), tolerance=tolerance, threads=threads)
    if name == "ducc0":
        return Ducc0Backend(shape, phases, tolerance=tolerance, threads=threads)
    if name == "numba":
        if not is_numba_usable():
            raise MeasurementError(
                "the back end numba was asked for and cannot be used: numba is not installed, or not the one "
                "for this numpy; 'pip install coilbench[fast]' installs it, or use the back end finufft"
            )
        from recon.compiled.nufft import NumbaBackend

        return NumbaBackend(shape, phases(), tolerance=tolerance, threads=threads)
    if name == "direct":
        return DirectSum(shape, phases())
    raise ValueError(f"back ends are 'finufft', 'numba', 'ducc0' and 'direct', not {name!r}")


def import_ducc0() -> Any:  # noqa: ANN401 - ducc0 has no types
    """Return the ducc0 package.

    Raises
    ------
    MeasurementError
        It is not installed.
    """
    try:
        import ducc0
    except ImportError as error:
        raise MeasurementError(
            "the back end ducc0 was asked for and is not installed: install it with "
            "'pip install coilbench[ducc0]' (GPL-2.0-or-later), or use the back end finufft"
        ) from error
    return ducc0


def available_threads() -> int:
    """Return OMP_NUM_THREADS where it is set, else the number of processors of this process."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdigit() and int(stated) > 0:
        return int(stated)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
