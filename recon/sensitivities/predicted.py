"""Sensitivities from the fields of the coils as drawn, fitted to a phantom by few numbers.

What the drawing does not say is how each receiver scales and turns its channel and how coupling and
whitening mix the channels: one complex matrix for the whole image. What is left after fitting that is where
coil and drawing differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class PredictedFit:
    """Sensitivities of all channels as mixtures of predicted fields.

    Parameters
    ----------
    mixing
        Channel signal per field, complex128, shape (channel, loop).
    residuals
        For each channel the root mean square of what the fit left, relative to the root mean square
        fitted, shape (channel,).
    """

    mixing: NDArray[np.complex128]
    residuals: NDArray[np.float64]

    def evaluate(self, fields: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
        """Return the sensitivities where the fields are known, complex64, shape (channel, z, y, x).

        Parameters
        ----------
        fields
            Shape (loop, z, y, x), on any grid.
        """
        maps = np.einsum("cl,lzyx->czyx", self.mixing, fields, optimize=True)
        return np.asarray(maps, dtype=np.complex64)


def fit_predicted(
    images: NDArray[np.complex64],
    fields: NDArray[np.complexfloating],
    mask: NDArray[np.bool_],
    *,
    shape: NDArray[np.float64] | None = None,
    mixing: Literal["array", "channel"] = "array",
) -> PredictedFit:
    """Fit predicted receive fields to the images of a phantom with a uniform bath.

    Parameters
    ----------
    images
        Whitened, shape (channel, z, y, x).
    fields
        B1- = Bx - i By of each loop for one ampere in it, in T, on the images' grid: shape (loop, z, y, x).
    mask
        Voxels of the bath that no boundary disturbs, shape (z, y, x).
    shape
        Expected image of the phantom seen by a uniform coil, 1 in the bath, shape (z, y, x); None: ones.
    mixing
        ``"array"``: every channel is a mixture of all loops, as coupling and whitening make it.
        ``"channel"``: channel n is loop n times a complex number; as many loops as channels.

    Raises
    ------
    MeasurementError
        There are fewer than three voxels per loop, or a channel without any signal.
    ValueError
        Shapes do not match.
    """
    if images.shape[1:] != fields.shape[1:] or mask.shape != images.shape[1:]:
        raise ValueError(f"images {images.shape}, fields {fields.shape} and mask {mask.shape} differ in grid")
    if mixing == "channel" and len(images) != len(fields):
        raise ValueError(f"{len(images)} channels of one loop each, but the fields of {len(fields)} loops")
    design = fields[:, mask].T.astype(np.complex128)
    if design.shape[0] < 3 * design.shape[1]:
        raise MeasurementError(
            f"only {design.shape[0]} voxels of undisturbed background for the fields of {design.shape[1]} "
            "loops: use a finer matrix or fewer vials"
        )
    if shape is not None:
        design = design * shape[mask][:, None]
    values = images[:, mask].T.astype(np.complex128)
    size = np.linalg.norm(values, axis=0)
    if not np.all(size > 0):
        silent = ", ".join(str(index + 1) for index in np.flatnonzero(size == 0))
        raise MeasurementError(f"no signal in the bath from channel {silent}: its field cannot be fitted")
    if mixing == "channel":
        factors = np.sum(design.conj() * values, axis=0) / np.sum(np.abs(design) ** 2, axis=0)
        matrix = np.diag(factors)
    else:
        matrix = np.linalg.lstsq(design, values, rcond=None)[0].T
    left = np.linalg.norm(values - design @ matrix.T, axis=0)
    return PredictedFit(np.asarray(matrix, dtype=np.complex128), np.asarray(left / size, dtype=np.float64))
