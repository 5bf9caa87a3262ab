"""The phantom as it was filled: a spherical bath with ball-shaped vials at known places."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.relaxation import Relaxation

Distribution = Literal["normal", "rectangular"]

#: Standard uncertainty per stated value: JCGM 100:2008, 4.3.7 (rectangular: half width over root 3).
_STANDARD: Final[dict[str, float]] = {"normal": 1.0, "rectangular": 1 / np.sqrt(3)}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How well a value is known.

    Parameters
    ----------
    relative
        Relative to the value: standard deviation (normal) or half width (rectangular).
    distribution
        ``"normal"`` or ``"rectangular"``.
    """

    relative: float
    distribution: Distribution = "normal"

    def __post_init__(self) -> None:
        if not 0 <= self.relative < 0.5:
            raise ValueError(f"a relative tolerance lies in [0, 0.5), got {self.relative}")
        if self.distribution not in _STANDARD:
            raise ValueError(f"a distribution is normal or rectangular, got {self.distribution!r}")

    @property
    def standard(self) -> float:
        """Relative standard uncertainty."""
        return self.relative * _STANDARD[self.distribution]


@dataclass(frozen=True, slots=True)
class Material:
    """A solution or gel: vials of one material share its (unknown) errors.

    Parameters
    ----------
    name
        Unique within the phantom.
    relaxation
        Measured or tabulated times.
    t1_tolerance, t2_star_tolerance
        How well they are known; all transverse components are scaled together.
    """

    name: str
    relaxation: Relaxation
    t1_tolerance: Tolerance = Tolerance(0.03)
    t2_star_tolerance: Tolerance = Tolerance(0.05)


@dataclass(frozen=True, slots=True)
class Vial:
    """A ball of one material.

    Parameters
    ----------
    name
        Unique within the phantom.
    centre
        (x, y, z) in m, magnet frame.
    radius
        In m.
    material
        What it is filled with.
    concentration
        Sodium in mmol/L for a reference vial; None when it is to be measured.
    concentration_tolerance
        How well a reference was prepared.
    position_tolerance
        Standard deviation in m, per axis, of where the vial sits in the phantom.
    """

    name: str
    centre: tuple[float, float, float]
    radius: float
    material: Material
    concentration: float | None = None
    concentration_tolerance: Tolerance = Tolerance(0.01)
    position_tolerance: float = 0.3e-3

    @property
    def is_reference(self) -> bool:
        """Whether the calibration uses this vial."""
        return self.concentration is not None


@dataclass(frozen=True, slots=True)
class Pose:
    """How a phantom lies against its description: turned about its centre, then shifted.

    Parameters
    ----------
    translation
        (x, y, z) in m.
    rotation
        Rotation vector in rad: its direction is the axis, its length the angle (right-handed).
    """

    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Phantom:
    """A spherical bath with vials in it.

    Parameters
    ----------
    centre
        Of the bath, (x, y, z) in m, magnet frame.
    radius
        Of the bath in m.
    background
        What the bath is filled with; its concentration need not be known.
    vials
        In any order; they neither overlap nor leave the bath.
    """

    centre: tuple[float, float, float]
    radius: float
    background: Material
    vials: tuple[Vial, ...]

    def __post_init__(self) -> None:
        names = [vial.name for vial in self.vials]
        if len(set(names)) < len(names):
            raise ValueError(f"vial names repeat: {names}")
        for index, vial in enumerate(self.vials):
            if _distance(vial.centre, self.centre) + vial.radius > self.radius:
                raise ValueError(f"vial {vial.name} leaves the bath of radius {self.radius} m")
            for other in self.vials[:index]:
                if _distance(vial.centre, other.centre) < vial.radius + other.radius:
                    raise ValueError(f"vials {other.name} and {vial.name} overlap")

    @property
    def materials(self) -> tuple[Material, ...]:
        """Every material once, the background's first."""
        found = {self.background.name: self.background}
        for vial in self.vials:
            found.setdefault(vial.material.name, vial.material)
        return tuple(found.values())

    def moved(self, pose: Pose) -> Phantom:
        """Return the phantom as it lies after ``pose``."""
        from scipy.spatial.transform import Rotation

        turn = Rotation.from_rotvec(pose.rotation)
        pivot, shift = np.array(self.centre), np.array(pose.translation)
        offsets = np.array([vial.centre for vial in self.vials]).reshape(-1, 3) - pivot
        places = pivot + turn.apply(offsets) + shift if self.vials else offsets
        return replace(
            self,
            centre=_point(pivot + shift),
            vials=tuple(
                replace(vial, centre=_point(place)) for vial, place in zip(self.vials, places, strict=True)
            ),
        )


def _point(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _distance(first: tuple[float, float, float], second: tuple[float, float, float]) -> float:
    return float(np.linalg.norm(np.subtract(first, second)))
