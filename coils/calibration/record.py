"""A calibration as it is kept: a folder of Touchstone files and one JSON file that says what they are.

The error terms are not stored: they are solved again from the raw sweeps, so that a later, better definition
of a standard can be applied to an old calibration.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import MeasurementError, StorageError
from coils.calibration.correction import Correction, solve_correction
from coils.calibration.kit import DefinitionUncertainty, Kit
from coils.calibration.standards import MeasuredStandard, OffsetStandard, Standard, ThruStandard
from coils.calibration.steps import CalibrationKind, calibration_steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

#: Version of ``calibration.json``; readers refuse a newer one.
VERSION: Final = 1
#: Name of the file that describes the others.
INDEX: Final = "calibration.json"
#: Numbers in Touchstone files: 17 digits bring every double back exactly.
_DIGITS: Final = "{:.17g}"


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """Everything a calibration is made of.

    Parameters
    ----------
    kind, ports
        As in `calibration_steps`.
    frequencies
        Hz, shape (frequency,).
    raw
        Raw sweeps by the names of the steps, shape (frequency, port, port).
    kit
        Standards and how well they are known.
    created
        With a time zone.
    temperature
        Of the room, K; None: not recorded.
    instrument
        What the analyzer says it is.
    settings
        Sweep settings that must be the same again, such as ``{"power_dbm": -10.0}``.
    operator
        Who connected the standards.
    """

    kind: CalibrationKind
    ports: tuple[int, ...]
    frequencies: NDArray[np.float64]
    raw: Mapping[str, NDArray[np.complex128]]
    kit: Kit
    created: datetime
    temperature: float | None
    instrument: str
    settings: Mapping[str, float] = field(default_factory=dict)
    operator: str = ""

    def __post_init__(self) -> None:
        """Check that nothing is missing.

        Raises
        ------
        ValueError
            A raw sweep is missing, or the time has no zone.
        """
        if self.created.tzinfo is None:
            raise ValueError("the time of a calibration needs a time zone")
        names = {step.name for step in calibration_steps(self.kind, self.ports)}
        if missing := sorted(names - set(self.raw)):
            raise ValueError(f"a {self.kind} calibration of ports {self.ports} needs {', '.join(missing)}")

    def solve(self, definitions: Mapping[str, NDArray[np.complex128]] | None = None) -> Correction:
        """Solve the error terms; parameters and errors as `solve_correction`."""
        return solve_correction(
            self.kind, self.ports, self.frequencies, self.raw, self.kit, definitions=definitions
        )


def save_record(record: CalibrationRecord, folder: Path) -> None:
    """Write a calibration into a new folder; it appears complete or not at all.

    Raises
    ------
    StorageError
        The folder exists, or the disk refuses.
    """
    if folder.exists():
        raise StorageError(f"{folder} exists; a calibration is never overwritten, choose another name")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write(record, work)
            work.replace(folder)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    except OSError as error:
        raise StorageError(f"{folder}: the calibration cannot be written ({error.strerror})") from error


def load_record(folder: Path) -> CalibrationRecord:
    """Read a calibration and check that no file has changed since it was written.

    Raises
    ------
    MeasurementError
        It is not a calibration, is newer than this program, or a file is missing or has been changed.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["version"] > VERSION:
            raise MeasurementError(f"{folder}: written by a newer program (version {index['version']})")
        files = {name: _checked(folder, name, digest) for name, digest in index["files"].items()}
        sweeps = {name: _read_touchstone(path) for name, path in files.items()}
        standards = {
            name: _standard(described, sweeps) for name, described in index["kit"]["standards"].items()
        }
        kit = Kit(
            index["kit"]["name"],
            standards,
            {name: DefinitionUncertainty(**u) for name, u in index["kit"]["uncertainties"].items()},
        )
        raw = {Path(name).stem: s for name, (_, s) in sweeps.items() if name.startswith("raw/")}
        frequencies = next(f for name, (f, _) in sweeps.items() if name.startswith("raw/"))
        return CalibrationRecord(
            kind=index["kind"],
            ports=tuple(index["ports"]),
            frequencies=frequencies,
            raw=raw,
            kit=kit,
            created=datetime.fromisoformat(index["created"]),
            temperature=index["temperature_kelvin"],
            instrument=index["instrument"],
            settings=index["settings"],
            operator=index["operator"],
        )
    except (OSError, KeyError, TypeError, ValueError, StopIteration) as error:
        raise MeasurementError(f"{folder} holds no readable calibration: {error}") from error


def _write(record: CalibrationRecord, folder: Path) -> None:
    (folder / "raw").mkdir()
    (folder / "standards").mkdir()
    files: dict[str, str] = {}
    for name, s in record.raw.items():
        files |= _write_touchstone(folder, f"raw/{name}", record.frequencies, s)
    described: dict[str, Any] = {}
    for name, standard in record.kit.standards.items():
        if isinstance(standard, MeasuredStandard):
            written = _write_touchstone(folder, f"standards/{name}", standard.frequencies, standard.s)
            files |= written
            described[name] = {"model": "measured", "file": next(iter(written))}
        else:
            model = "offset" if isinstance(standard, OffsetStandard) else "thru"
            described[name] = {"model": model, **asdict(standard)}
    index = {
        "version": VERSION,
        "kind": record.kind,
        "ports": list(record.ports),
        "created": record.created.isoformat(),
        "temperature_kelvin": record.temperature,
        "instrument": record.instrument,
        "operator": record.operator,
        "settings": dict(record.settings),
        "kit": {
            "name": record.kit.name,
            "standards": described,
            "uncertainties": {name: asdict(u) for name, u in record.kit.uncertainties.items()},
        },
        "files": files,
    }
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _write_touchstone(
    folder: Path, stem: str, frequencies: NDArray[np.float64], s: NDArray[np.complex128]
) -> dict[str, str]:
    from skrf.network import Network

    name = f"{stem}.s{s.shape[-1]}p"
    network = Network(f=frequencies, f_unit="Hz", s=s, z0=50.0, name=Path(stem).name)
    text = network.write_touchstone(
        return_string=True, form="ri", format_spec_A=_DIGITS, format_spec_B=_DIGITS, format_spec_freq=_DIGITS
    )
    (folder / name).write_text(str(text), encoding="ascii")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()}


def _read_touchstone(path: Path) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    from skrf.network import Network

    network = Network(str(path))
    return np.asarray(network.f, dtype=np.float64), np.asarray(network.s, dtype=np.complex128)


def _checked(folder: Path, name: str, digest: str) -> Path:
    path = folder / name
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise MeasurementError(f"{path} has changed since the calibration was made; calibrate again")
    return path


def _standard(
    described: dict[str, Any], sweeps: Mapping[str, tuple[NDArray[np.float64], NDArray[np.complex128]]]
) -> Standard:
    values = dict(described)
    model = values.pop("model")
    if model == "measured":
        return MeasuredStandard(*sweeps[values["file"]])
    if model == "thru":
        return ThruStandard(**values)
    return OffsetStandard(**{**values, "polynomial": tuple(values["polynomial"])})
