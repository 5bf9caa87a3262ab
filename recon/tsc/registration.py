"""Where the phantom lies: its pose fitted to the image, with an uncertainty, or refused.

The template is the phantom's description seen through the point spread. First the bath's ball is found in
the root-sum-of-squares image and small turns are tried; then pose and vial contrasts are fitted by
Gauss-Newton to the image that the bath's own sensitivities make even, weighted by its SNR. No threshold and
no edge detector: it works at an SNR of 5, because every voxel of walls and vials takes part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.fft
import scipy.ndimage
from scipy.spatial.transform import Rotation

from coilbench.base.errors import MeasurementError
from recon.blur import BallImages
from recon.combine import combine_roemer, combine_squares
from recon.functionals import ImageNoise
from recon.phantom import Pose
from recon.regions import background_mask, ball_weights
from recon.sensitivities import fit_harmonics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.live import ChannelImages
    from recon.phantom import Phantom
    from recon.psf import BallImage, RadialReadout

#: Gauss-Newton steps; the pose moves by less than a hundredth of a voxel after four.
_STEPS: Final = 8
#: Voxels of movement after which the bath's sensitivities are fitted anew: the guard is far wider.
_REFIT: Final = 0.15
#: Step in m of numerical derivatives of a ball's image: a fiftieth of any voxel.
_NUDGE: Final = 0.1e-3
#: A step below this many voxels ends the fit.
_STILL: Final = 2e-3
#: Tried turns about each axis: from -limit to limit in so many steps.
_TURNS: Final = 7
#: Degree of the sensitivities in the search: vials (contrasts of high degree) must not be fitted away.
_SEARCH_DEGREE: Final = 3
#: Degree of the sensitivities in the fit: a few percent of shading move no wall, noise at the rim would.
_DEGREE: Final = 4
#: Largest part of the vials' contrast energy that the fitted template may leave beyond noise.
_UNEXPLAINED: Final = 0.25
#: Noise energy of a residual over that of the image: the sensitivities are noisy too. Measured as what noise
#: added to the even image, per voxel: 0.98 to 1.14 (32³, 3 drawn scans), 1.08 to 1.20 (36³); the same at an
#: SNR of a third.
_NOISE_LEFT: Final = 1.1
#: Vial contrast, in units of its noise, below which a turn cannot be seen.
_VISIBLE: Final = 5.0
#: Part of a voxel to which the vials' places must be known.
_PRECISE: Final = 0.5
#: Voxels of rim outside the bath that take part in the fit: there the image falls to nothing.
_RIM: Final = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """A fitted pose.

    Parameters
    ----------
    pose
        Of the phantom against its description.
    covariance
        Of (translation in m, rotation in rad), shape (6, 6): noise, times the misfit where that is above 1.
    position_uncertainty
        Largest standard uncertainty of a vial's place along an axis in m.
    contrasts
        Signal of each vial relative to the bath, shape (vial,).
    misfit
        Root mean square residual over its noise.
    unexplained
        Part of the vials' contrast energy that the template leaves beyond noise.
    """

    pose: Pose
    covariance: NDArray[np.float64]
    position_uncertainty: float
    contrasts: NDArray[np.float64]
    misfit: float
    unexplained: float


@dataclass(frozen=True, slots=True, eq=False)
class _Even:
    """The image in units of the bath within the fitted region, and what makes it."""

    region: NDArray[np.bool_]
    values: NDArray[np.float64]
    power: NDArray[np.float64]
    sensitivities: NDArray[np.complex64]


def register(
    images: ChannelImages,
    phantom: Phantom,
    readout: RadialReadout,
    *,
    start: Pose | None = None,
    reach: float = 0.015,
    turn: float = 0.26,
) -> Registration:
    """Fit where the phantom lies.

    Parameters
    ----------
    images
        Whitened channel images.
    phantom
        As described.
    readout
        The spoke, with the window used in the reconstruction.
    start
        Where to search; None: as described.
    reach
        How far the phantom may be shifted from ``start`` along an axis in m.
    turn
        How far it may be turned from ``start`` about an axis in rad.

    Raises
    ------
    MeasurementError
        The phantom has no vials, lies at the limit of the search, cannot be seen, or does not look like
        its description.
    """
    if not phantom.vials:
        raise MeasurementError("the phantom has no vials: nothing shows how it is turned")
    first = start or Pose()
    found = _search(images, phantom, first, reach, turn)
    parameters = np.array([*found.translation, *found.rotation])
    balls = BallImages(readout)
    lever = np.array([1.0, 1.0, 1.0, *(phantom.radius,) * 3])
    even, moved = _even_image(images, phantom.moved(found)), 0.0
    contrasts = _first_contrasts(even, images.grid, phantom.moved(found))
    design = np.zeros((0, parameters.size))
    for _ in range(_STEPS):
        if moved > _REFIT * max(images.grid.spacing):
            even, moved = _even_image(images, phantom.moved(_pose(parameters))), 0.0
        step, contrasts, design = _fit(even, images.grid, phantom, balls, parameters, contrasts)
        parameters = parameters + step
        size = float(np.max(np.abs(step * lever)))
        moved += size
        if size < _STILL * max(images.grid.spacing):
            break
    pose = _pose(parameters)
    _refuse_beyond_search(pose, first, reach, turn)
    return _judge(images, phantom, balls, parameters, contrasts, even, design)


def _pose(parameters: NDArray[np.float64]) -> Pose:
    a, b, c, d, e, f = (float(value) for value in parameters)
    return Pose((a, b, c), (d, e, f))


def _search(images: ChannelImages, phantom: Phantom, start: Pose, reach: float, turn: float) -> Pose:
    """Return the shift that covers the bath best, then the turn at which the vials differ most from it."""
    grid = images.grid
    lying = phantom.moved(start)
    squares = combine_squares(images.images, images.noise_gain).astype(np.float64)
    inside = grid.distances(lying.centre) <= 0.7 * phantom.radius
    # Clipped: surface coils make the rim bright, and a bright side must not pull the centre.
    clipped = np.minimum(squares, 0.5 * np.median(squares[inside]))
    template = ball_weights(grid, lying.centre, phantom.radius)
    shell = ball_weights(grid, lying.centre, phantom.radius + 4 * max(grid.spacing)) - template
    template -= shell * (template.sum() / shell.sum())
    spectrum = np.asarray(scipy.fft.rfftn(clipped)) * np.conj(np.asarray(scipy.fft.rfftn(template)))
    score = np.asarray(scipy.fft.irfftn(spectrum, s=grid.shape))
    steps = [int(reach / spacing) for spacing in grid.spacing]
    window = np.roll(score, steps, axis=(0, 1, 2))[: 2 * steps[0] + 1, : 2 * steps[1] + 1, : 2 * steps[2] + 1]
    peak = np.array(np.unravel_index(np.argmax(window), window.shape)) - steps
    z, y, x = (float(value) for value in peak * np.array(grid.spacing))
    shifted = Pose(
        (start.translation[0] + x, start.translation[1] + y, start.translation[2] + z), start.rotation
    )
    return _search_turn(images, phantom, shifted, turn)


def _search_turn(images: ChannelImages, phantom: Phantom, pose: Pose, turn: float) -> Pose:
    """Return the turn at which balls of the vials' size differ most from the bath."""
    grid = images.grid
    lying = phantom.moved(pose)
    bath = grid.distances(lying.centre) <= phantom.radius - grid.resolution
    fit = fit_harmonics(
        images.images,
        grid.positions(),
        bath,
        centre=lying.centre,
        radius=phantom.radius,
        degree=_SEARCH_DEGREE,
    )
    combined = combine_roemer(images.images, fit.evaluate(grid.positions(), bath)).real
    radius = float(np.mean([vial.radius for vial in phantom.vials]))
    kernel = ball_weights(grid, (0.0, 0.0, 0.0), radius)
    spectrum = np.asarray(scipy.fft.rfftn(np.where(bath, combined - 1.0, 0.0)))
    spectrum *= np.asarray(scipy.fft.rfftn(scipy.fft.ifftshift(kernel / kernel.sum())))
    means = np.asarray(scipy.fft.irfftn(spectrum, s=grid.shape))
    angles = np.linspace(-turn, turn, _TURNS)
    vectors = np.stack(np.meshgrid(angles, angles, angles), axis=-1).reshape(-1, 3)
    turns = Rotation.from_rotvec(vectors) * Rotation.from_rotvec(pose.rotation)
    arms = np.array([vial.centre for vial in phantom.vials]) - np.array(phantom.centre)
    places = np.einsum("rij,vj->rvi", turns.as_matrix(), arms) + np.array(lying.centre)
    index = places[..., ::-1] / np.array(grid.spacing) + np.array(grid.shape) // 2
    sampled = scipy.ndimage.map_coordinates(means, np.moveaxis(index, -1, 0).reshape(3, -1), order=1)
    energies = np.sum(np.square(sampled).reshape(places.shape[:2]), axis=1)
    x, y, z = (float(value) for value in turns[int(np.argmax(energies))].as_rotvec())
    return Pose(pose.translation, (x, y, z))


def _even_image(images: ChannelImages, lying: Phantom) -> _Even:
    """Return the image in units of the bath, a little beyond its rim."""
    grid = images.grid
    positions = grid.positions()
    fit = fit_harmonics(
        images.images,
        positions,
        background_mask(grid, lying),
        centre=lying.centre,
        radius=lying.radius,
        degree=_DEGREE,
        radial_degree=0,
    )
    region = grid.distances(lying.centre) <= lying.radius + _RIM * max(grid.spacing)
    sensitivities = fit.evaluate(positions, region)
    combined = combine_roemer(images.images, sensitivities)[region].real.astype(np.float64)
    power = np.einsum("cv,cv->v", sensitivities[:, region], sensitivities[:, region].conj()).real
    return _Even(region, combined, power.astype(np.float64), sensitivities)


def _first_contrasts(even: _Even, grid: Grid, lying: Phantom) -> NDArray[np.float64]:
    image = np.zeros(grid.shape)
    image[even.region] = even.values
    weights = [ball_weights(grid, vial.centre, vial.radius) for vial in lying.vials]
    return np.array([float(np.sum(weight * image) / weight.sum()) for weight in weights])


def _fit(
    even: _Even,
    grid: Grid,
    phantom: Phantom,
    balls: BallImages,
    parameters: NDArray[np.float64],
    contrasts: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return a Gauss-Newton step of the pose, the contrasts, and the design (voxel, 6 + vial + bath)."""
    model, design = _linearise(even, grid, phantom, balls, parameters, contrasts)
    weighted = design * even.power[:, None]
    solution = np.linalg.solve(design.T @ weighted, weighted.T @ (even.values - model))
    found = np.asarray(solution, dtype=np.float64)
    return found[:6], contrasts + found[6:-1], design


def _linearise(
    even: _Even,
    grid: Grid,
    phantom: Phantom,
    balls: BallImages,
    parameters: NDArray[np.float64],
    contrasts: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the template and its derivatives by pose, contrasts and the bath's level."""
    lying = phantom.moved(_pose(parameters))
    places = grid.positions()[even.region]
    bath = phantom.background.relaxation
    centre = np.array(lying.centre)
    whole = places - centre
    body = balls.image(phantom.radius, bath)
    model = body(np.linalg.norm(whole, axis=1))
    moving = _gradient(body, whole)
    turning = np.zeros_like(moving)
    columns = []
    for vial, contrast in zip(lying.vials, contrasts, strict=True):
        offset = places - np.array(vial.centre)
        own, hole = balls.image(vial.radius, vial.material.relaxation), balls.image(vial.radius, bath)
        distance = np.linalg.norm(offset, axis=1)
        columns.append(own(distance))
        model = model + contrast * columns[-1] - hole(distance)
        gradient = contrast * _gradient(own, offset) - _gradient(hole, offset)
        moving = moving + gradient
        # A small turn w moves a vial by w x arm; d/dw of g·(w x arm) is arm x g.
        turning = turning + np.cross(np.array(vial.centre) - centre, gradient)
    return model, np.column_stack([moving, turning, *columns, model])


def _gradient(image: BallImage, offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the derivative of a ball's image by the place of its centre, (voxel, 3)."""
    distance = np.linalg.norm(offset, axis=1)
    slope = (image(distance + _NUDGE) - image(np.abs(distance - _NUDGE))) / (2 * _NUDGE)
    return np.asarray(-offset * (slope / np.maximum(distance, _NUDGE))[:, None], dtype=np.float64)


def _refuse_beyond_search(pose: Pose, start: Pose, reach: float, turn: float) -> None:
    shift = float(np.max(np.abs(np.subtract(pose.translation, start.translation))))
    turned = Rotation.from_rotvec(pose.rotation) * Rotation.from_rotvec(start.rotation).inv()
    angle = float(np.linalg.norm(turned.as_rotvec()))
    if shift > 1.2 * reach or angle > 1.8 * turn:
        raise MeasurementError(
            f"the phantom would lie {shift * 1e3:.1f} mm and {np.degrees(angle):.0f} degrees off where it "
            f"was searched (up to {reach * 1e3:.0f} mm, {np.degrees(turn):.0f} degrees): state its position"
        )


def _judge(
    images: ChannelImages,
    phantom: Phantom,
    balls: BallImages,
    parameters: NDArray[np.float64],
    contrasts: NDArray[np.float64],
    even: _Even,
    design: NDArray[np.float64],
) -> Registration:
    """Return the fit with its uncertainty, or refuse it."""
    grid = images.grid
    model, _ = _linearise(even, grid, phantom, balls, parameters, contrasts)
    residual = even.values - model
    variance = images.noise_gain**2
    misfit = float(np.sqrt(np.mean(even.power * residual**2) / variance))
    flat, _ = _linearise(even, grid, phantom, balls, parameters, np.ones(len(phantom.vials)))
    depth = phantom.radius - grid.distances(phantom.moved(_pose(parameters)).centre)[even.region]
    # Near the rim the sensitivities are extrapolated, and their noise is more than the image's.
    inner = np.where(depth > grid.resolution, even.power, 0.0)
    pattern = float(np.sum(inner * (model - flat) ** 2))
    left = float(np.sum(inner * residual**2)) - _NOISE_LEFT * variance * np.count_nonzero(inner)
    unexplained = max(left, 0.0) / max(pattern, np.finfo(np.float64).tiny)
    weighted = design * even.power[:, None]
    solver = np.linalg.solve(design.T @ weighted, weighted.T)[:6]
    noise = ImageNoise(images, even.region)
    rows = np.zeros((6, images.channels, *even.region[noise.box].shape), dtype=np.complex64)
    inverse = np.conj(even.sensitivities[:, even.region]) / even.power
    rows[:, :, even.region[noise.box]] = solver[:, None, :] * inverse
    covariance = noise.covariance(rows) * max(misfit, 1.0) ** 2
    lying = phantom.moved(_pose(parameters))
    uncertainty = _largest_deviation(lying, covariance)
    voxel = max(grid.spacing)
    if pattern < (_VISIBLE**2) * variance * len(phantom.vials):
        raise MeasurementError(
            "the vials do not stand out from the bath: nothing shows how the phantom is turned; "
            "state its position"
        )
    if unexplained > _UNEXPLAINED:
        raise MeasurementError(
            f"the image does not look like the phantom: {100 * unexplained:.0f} % of the vials' contrast is "
            f"left over (at most {100 * _UNEXPLAINED:.0f} %): wrong phantom, turned beyond the search, or "
            "artefacts; state its position to go on"
        )
    if uncertainty > _PRECISE * voxel:
        raise MeasurementError(
            f"the vials' places are only known to {uncertainty * 1e3:.1f} mm, half a voxel is "
            f"{0.5 * voxel * 1e3:.1f} mm: average more scans, or state the position"
        )
    return Registration(_pose(parameters), covariance, uncertainty, contrasts, misfit, unexplained)


def _largest_deviation(lying: Phantom, covariance: NDArray[np.float64]) -> float:
    """Return the largest standard deviation of a vial's place along an axis in m."""
    largest = 0.0
    for vial in lying.vials:
        x, y, z = np.subtract(vial.centre, lying.centre)
        # d place / d turn = -[arm]x: a turn w moves the vial by w x arm.
        cross = np.array([[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]])
        jacobian = np.concatenate([np.eye(3), cross], axis=1)
        largest = max(largest, float(np.max(np.diagonal(jacobian @ covariance @ jacobian.T))))
    return float(np.sqrt(largest))
