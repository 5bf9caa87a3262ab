"""What foreign data say of a phantom's sodium: vials, line, maps; for the command, the page and the files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from coilbench.base.verdict import Judged, Verdict, overall
from coilbench.procedures.quantify import judge_vials
from coilbench.session import software, storing
from recon.tsc.quantification import NOT_MEASURED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from coilbench.bench_file import PhantomFile
    from coilbench.procedures.quantify import VialResult


@dataclass(frozen=True, slots=True)
class Timing:
    """How a scan was made, as far as it was said on the command line; None: as the file says.

    Parameters
    ----------
    repetition_time, echo_time
        In s.
    flip_angle
        In rad.
    """

    repetition_time: float | None = None
    echo_time: float | None = None
    flip_angle: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ForeignSodium:
    """What foreign data say of a phantom's sodium.

    Parameters
    ----------
    name
        Of the data.
    file
        The phantom and its limits.
    vials
        Found, in the phantom's order.
    rows
        The same, flat, with each one's budget.
    line
        (intercept, slope) of corrected signal over mmol/L, and the standard uncertainty of the slope.
    signals
        Corrected signal of each vial and its standard uncertainty, shape (vial, 2).
    maps
        Name, values (z, y, x) and meaning of each map.
    affine
        Of the maps: voxel numbers (x, y, z) to right, anterior, superior in mm.
    notes
        What had to be assumed.
    """

    name: str
    file: PhantomFile
    vials: Sequence[VialResult]
    rows: tuple[dict[str, Any], ...]
    line: tuple[float, float, float]
    signals: NDArray[np.float64]
    maps: tuple[tuple[str, NDArray[np.float32], str], ...]
    affine: NDArray[np.float64]
    notes: tuple[str, ...]

    @property
    def judged(self) -> tuple[Judged, ...]:
        """Check vials against the file's limit."""
        return judge_vials(self.file, self.vials)

    @property
    def verdict(self) -> Verdict:
        """Of the check vials; inconclusive where there are none."""
        return overall(self.judged)

    def lines(self) -> tuple[str, ...]:
        """Return what stands under the table: every vial, the line, what was assumed."""
        found = (
            f"{vial.name}: {vial.concentration:.1f} ± {vial.expanded_uncertainty:.1f} mmol/L (95 %)"
            for vial in self.vials
        )
        _, slope, spread = self.line
        return (*found, f"Slope {slope:.4g} ± {2 * spread:.2g} (95 %).", *self.notes, NOT_MEASURED)

    def values(self) -> dict[str, Any]:
        """Return all of it as plain values with units in their names."""
        return {
            "name": self.name,
            "verdict": str(self.verdict),
            "judged": list(self.judged),
            "vials": list(self.rows),
            "slope": self.line[1],
            "u_slope": self.line[2],
            "intercept": self.line[0],
            "not_measured": NOT_MEASURED,
            "software": software(),
            "notes": "; ".join(self.notes),
        }

    def figures(self) -> tuple[tuple[str, Figure | str], ...]:
        """Return the line with its residuals, and the map."""
        from coilbench.report.scan_figures import regression_figure, slices_figure

        described = self.file.phantom.vials
        is_reference = np.array([vial.role == "reference" for vial in described])
        line = regression_figure(
            np.array([vial.concentration_mmol_l for vial in described]),
            self.signals[:, 0],
            self.signals[:, 1],
            is_reference,
            self.line[:2],
            [vial.name for vial in described],
        )
        _, values, meaning = self.maps[0]
        step = 1e-3 * float(np.linalg.norm(self.affine[:3, 2]))
        top = 1.1 * max(vial.concentration_mmol_l for vial in described)
        radius = self.file.phantom.radius
        return (
            ("Line through the references", line),
            (meaning, slices_figure(values, step, radius, "[Na]", "(mmol/L)", top)),
        )

    def write_maps(self, out: Path, /) -> tuple[Path, ...]:
        """Write the maps as NIfTI into a folder; return the files.

        Raises
        ------
        StorageError
            The disk refused.
        """
        import nibabel

        written = []
        with storing(out):
            out.mkdir(parents=True, exist_ok=True)
            for name, values, meaning in self.maps:
                written.append(out / f"{name}.nii.gz")
                volume: Any = nibabel.Nifti1Image(
                    np.ascontiguousarray(values.transpose(2, 1, 0)), self.affine
                )
                volume.header.set_xyzt_units("mm", "sec")
                volume.header["descrip"] = meaning
                nibabel.save(volume, str(written[-1]))
        return tuple(written)
