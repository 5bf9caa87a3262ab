"""What every reconstruction asks of an imaging model: forward, adjoint and normal operator.

Iterative methods (``recon.cg_sense``, regularised ones) know an imaging model only as ``LinearOperator``, so
coils, density weights, Toeplitz kernels and field maps can change without them.

The data space has the inner product <a, b>_W = sum over channels and points of conj(a) w b, with the density
weights w in 1/m³; the image space has <x, y>_V = sum over voxels of conj(x) y times the voxel's volume in m³.
The adjoint belongs to these two: <E x, s>_W = <x, E* s>_V. So weights enter once, E* s is already an image of
the right scale, and E* E is close to the sum of squared sensitivities whatever the matrix or the number of
spokes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recon.grid import Grid


class LinearOperator(Protocol):
    """An imaging model from one image to the k-space samples of all channels."""

    @property
    def grid(self) -> Grid:
        """Where the image's voxels are."""
        ...

    def forward(self, image: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        """Return E x, the samples of an image.

        Parameters
        ----------
        image
            Shape (z, y, x).

        Returns
        -------
        Shape (channel, point); s(k) = integral of S rho exp(-2 pi i k·r) over the volume in m³.
        """
        ...

    def adjoint(self, samples: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        """Return E* s, the density-weighted image of samples, summed over the channels.

        Parameters
        ----------
        samples
            Unweighted, shape (channel, ...) with as many samples per channel as there are points.

        Returns
        -------
        Shape (z, y, x).
        """
        ...

    def normal(self, image: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        """Return E* E x; never changes ``image``.

        Parameters
        ----------
        image
            Shape (z, y, x).

        Returns
        -------
        Shape (z, y, x).
        """
        ...
