"""The bench file: which instruments, which array, which phantom, which scan, which limits.

TOML, checked completely before anything is opened. Every mistake is answered with file, line, key, what
would be allowed and the nearest valid name; all mistakes at once.
"""

from __future__ import annotations

import math
import tomllib
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from coilbench.base.errors import BenchFileError
from coilbench.base.nuclei import NUCLEI, nucleus
from coilbench.base.units import parse_quantity
from coilbench.qc_limits import QualityLimits
from coilbench.toml_mistakes import describe_mistakes, nearest
from drivers.registry import driver_names

if TYPE_CHECKING:
    from pathlib import Path

#: A bench file larger than this is not one.
MAXIMUM_FILE_BYTES: Final = 1 << 20


def _in(unit: str) -> BeforeValidator:
    return BeforeValidator(lambda value: parse_quantity(value, unit), json_schema_input_type=float | str)


def _known_driver(value: object) -> str:
    names = driver_names()
    if value not in names:
        raise ValueError(
            f"no driver is called {value!r}{nearest(str(value), names)} (installed: {', '.join(names)})"
        )
    return str(value)


DriverName = Annotated[str, BeforeValidator(_known_driver)]
Tesla = Annotated[float, _in("T"), Field(gt=0.0, lt=25.0)]
Metre = Annotated[float, _in("m")]
Second = Annotated[float, _in("s"), Field(gt=0.0)]
Hertz = Annotated[float, _in("Hz"), Field(gt=0.0)]
Ampere = Annotated[float, _in("A"), Field(ge=0.0)]
Kelvin = Annotated[float, _in("K"), Field(gt=1.0, lt=400.0)]
Henry = Annotated[float, _in("H"), Field(gt=0.0, lt=1e-3)]
Farad = Annotated[float, _in("F"), Field(gt=0.0, lt=1e-6)]
Ohm = Annotated[float, _in("ohm"), Field(gt=0.0, lt=1e4)]
Volt = Annotated[float, _in("V"), Field(gt=0.0)]
Decibel = Annotated[float, _in("dB")]
DecibelMilliwatt = Annotated[float, _in("dBm")]
TeslaPerMetre = Annotated[float, _in("T/m"), Field(gt=0.0)]
TeslaPerMetreSecond = Annotated[float, _in("T/m/s"), Field(gt=0.0)]
NucleusName = Annotated[str, BeforeValidator(lambda value: nucleus(str(value)).name)]


class Table(BaseModel):
    """A table of the bench file: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Instrument(Table):
    """One instrument: which driver, at which address."""

    driver: DriverName = Field(description="Name of an installed driver.")
    address: str = Field(description="VISA resource, tcp://host:port, socket://host:port, or a serial port.")
    guardian_address: str | None = Field(
        default=None,
        description="Way in by which the guardian switches the outputs off; by default the address.",
    )


class Boards(Table):
    """The receivers: several boards that sample together."""

    driver: DriverName = Field(description="Name of an installed driver.")
    addresses: tuple[str, ...] = Field(
        min_length=1, description="One for each board, in the order of the channels."
    )
    full_scale: Volt = Field(default=0.25, description="Peak voltage of a full-scale reading, V.")

    @model_validator(mode="after")
    def _boards_are_different(self) -> Boards:
        if len(set(self.addresses)) != len(self.addresses):
            raise ValueError("two boards have the same address; each board receives its own two channels")
        return self


RouteName = Annotated[str, Field(pattern=r"^[1-9]\d*-[1-9]\d*$")]


class Switch(Instrument):
    """A switch matrix between an analyzer with few ports and the array."""

    files: str = Field(
        description="Folder of way-<analyzer port>-<device port>.s2p and load-<device port>.s1p."
    )
    repeatability: float = Field(
        default=1e-3, gt=0.0, description="Standard deviation of S between two connections."
    )
    routes: dict[RouteName, str] = Field(
        min_length=1, description="Relay states by 'analyzer port-device port', as the maker writes them."
    )
    parked: str = Field(description="The state of every relay when nothing is connected.")
    forbidden: tuple[str, ...] = Field(
        default=(), description="Combinations of relay states that must not occur."
    )


class Instruments(Table):
    """All instruments of the bench."""

    analyzer: Instrument
    tuner: Instrument | None = Field(
        default=None, description="Not needed where trimmers are turned by hand."
    )
    receiver: Boards | None = Field(default=None, description="Needed for scans only.")
    scanner: Instrument | None = Field(default=None, description="Needed for scans only.")
    switch: Switch | None = Field(default=None, description="Only where the analyzer has too few ports.")

    @field_validator("analyzer", "tuner", "receiver", "scanner", "switch")
    @classmethod
    def _driver_is_of_its_kind(
        cls, place: Instrument | Boards | None, info: ValidationInfo
    ) -> Instrument | Boards | None:
        if place is None:
            return None
        names = driver_names(info.field_name)
        if place.driver not in names:
            raise ValueError(
                f"driver {place.driver!r} is not one for the {info.field_name}; allowed: {', '.join(names)}"
            )
        return place


class Geometry(Table):
    """How equal loops lie round a cylinder about the z axis; known, the SNR to expect can be stated."""

    radius: Annotated[Metre, Field(gt=0.0)] = Field(description="Of the cylinder, m.")
    height: Annotated[Metre, Field(gt=0.0)] = Field(description="Of each loop along z, m.")
    strip_width: Annotated[Metre, Field(gt=0.0)] = Field(description="Of the conductor, m.")
    width_to_pitch: float = Field(
        default=1.14, gt=0.1, lt=3.0, description="Width of a loop over the distance between centres."
    )


Range = Annotated[tuple[Farad, Farad], Field(description="Capacitance at the lower and upper end.")]


class TrimmerPair(Table):
    """The two trimmers of a port, fixed capacitors in parallel included."""

    tune: Range = Field(description="Capacitance at the lower and upper end of the travel, F.")
    match: Range = Field(description="Capacitance at the lower and upper end of the travel, F.")

    @field_validator("tune", "match")
    @classmethod
    def _rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < value[1]:
            raise ValueError(
                f"the capacitance rises with the steps: lower end first; got {value[0]} F and {value[1]} F"
            )
        return value


class Drawing(Table):
    """The channels as drawn: loops tuned to two nuclei by a trap. The tuner starts from it."""

    loop_inductance: Henry = Field(description="Of one loop, H.")
    loop_resistance: dict[NucleusName, Ohm] = Field(
        description="Of one loop and its load by nucleus, ohm; a guess will do."
    )
    trap_inductance: Henry = Field(description="Of the trap, in series with trap_capacitance, H.")
    trap_capacitance: Farad = Field(description="In series with trap_inductance, F.")
    trimmers: dict[NucleusName, TrimmerPair] = Field(
        description="By nucleus; the upper nucleus' tune trimmer lies across the trap."
    )


class Array(Table):
    """The coil array: channels, nuclei, ports of the analyzer, axes of the tuner, preamplifiers."""

    serial_number: str = Field(
        default="unnamed", max_length=64, description="Also names the coils in MRD files."
    )
    channels: int = Field(ge=1, le=128, description="Loops, and receive channels.")
    nuclei: tuple[NucleusName, ...] = Field(min_length=1, description='Such as "23Na", "1H".')
    ports: dict[NucleusName, tuple[int, ...]] = Field(
        description="Analyzer port of channel 1, 2, ... by nucleus."
    )
    axes: dict[NucleusName, str] = Field(
        description="Prefix of the tuner's axes, such as 'na' in ch1.na.tune."
    )
    reference_impedance: float = Field(default=50.0, gt=0.0, description="Ohm.")
    geometry: Geometry | None = Field(default=None, description="How the loops lie, where it is known.")
    drawing: Drawing | None = Field(
        default=None, description="What was built; tuning then takes a fraction of the sweeps."
    )
    preamplifier_gain_db: Decibel = Field(description="Voltage gain in dB.")
    preamplifier_noise_figure_db: Annotated[Decibel, Field(ge=0.0)] = Field(
        description="In dB, against 290 K."
    )
    temperature: Kelvin = Field(default=293.15, description="Of coils and phantom, K.")

    @model_validator(mode="after")
    def _drawing_fits_nuclei(self) -> Array:
        if self.drawing is None:
            return self
        for key, named in (
            ("loop_resistance", set(self.drawing.loop_resistance)),
            ("trimmers", set(self.drawing.trimmers)),
        ):
            if len(self.nuclei) != 2 or named != set(self.nuclei):
                raise ValueError(
                    f"drawing.{key} needs both of two nuclei; array.nuclei are {', '.join(self.nuclei)}, "
                    f"the drawing has {', '.join(sorted(named))}"
                )
        return self

    @model_validator(mode="after")
    def _ports_fit_channels(self) -> Array:
        for name in self.nuclei:
            if len(self.ports.get(name, ())) != self.channels:
                raise ValueError(
                    f"ports.{name} needs one analyzer port for each of the {self.channels} channels; "
                    f"got {len(self.ports.get(name, ()))}"
                )
            if name not in self.axes:
                raise ValueError(f"axes.{name} is missing: the prefix of this nucleus' tuner axes")
        every = [port for ports in self.ports.values() for port in ports]
        if len(set(every)) != len(every):
            raise ValueError("a port number is used twice; each port belongs to one channel and one nucleus")
        return self


class Material(Table):
    """A solution or gel and its relaxation; T2* has a short and a long part where it is biexponential."""

    t1: Second = Field(description="T1, s.")
    t2_long: Second = Field(description="T2*, or its long part, s.")
    t2_short: Second | None = Field(
        default=None, description="Short part of T2*, s; absent where T2* has one part."
    )
    short_fraction: float = Field(
        default=0.6, ge=0.0, le=1.0, description="Of the signal, where T2* has two parts."
    )
    t1_tolerance: float = Field(
        default=0.03, ge=0.0, lt=0.5, description="Relative standard uncertainty of T1."
    )
    t2_tolerance: float = Field(
        default=0.05, ge=0.0, lt=0.5, description="Relative standard uncertainty of T2*."
    )


class Vial(Table):
    """A ball-shaped vial; references calibrate, checks are measured and compared with their true value."""

    name: str = Field(min_length=1, max_length=32, description="Unique.")
    role: Literal["reference", "check"] = Field(
        description="Calibrates, or is checked against its true value."
    )
    material: str = Field(description="One of phantom.materials.")
    position: tuple[Metre, Metre, Metre] = Field(description="Centre x, y, z in the magnet's frame, m.")
    radius: Annotated[Metre, Field(gt=0.0)] = Field(description="m.")
    concentration_mmol_l: float = Field(gt=0.0, description="True sodium concentration, as prepared, mmol/L.")
    preparation_tolerance: float = Field(
        default=0.01, ge=0.0, lt=0.5, description="Relative standard uncertainty of the preparation."
    )


class Phantom(Table):
    """A ball of weak sodium solution with vials in it."""

    name: str = Field(min_length=1, max_length=64)
    radius: Annotated[Metre, Field(gt=0.0)] = Field(description="m.")
    background: str = Field(description="Material of the ball.")
    conductivity: float | None = Field(
        default=None, gt=0.0, lt=10.0, description="Of the ball at the Larmor frequencies, S/m."
    )
    conductivity_tolerance: float = Field(
        default=0.05, ge=0.0, lt=0.5, description="Relative standard uncertainty of the conductivity."
    )
    permittivity: float = Field(default=80.0, ge=1.0, lt=200.0, description="Of the ball, relative.")
    materials: dict[str, Material]
    vials: tuple[Vial, ...]

    @model_validator(mode="after")
    def _materials_are_known(self) -> Phantom:
        for place, material in (("background", self.background), *((v.name, v.material) for v in self.vials)):
            if material not in self.materials:
                raise ValueError(
                    f"{place}: no material is called {material!r}{nearest(material, self.materials)} "
                    f"(there are: {', '.join(self.materials)})"
                )
        return self

    @model_validator(mode="after")
    def _vials_are_inside_and_apart(self) -> Phantom:
        names = [vial.name for vial in self.vials]
        if len(set(names)) != len(names):
            raise ValueError("two vials have the same name")
        if sum(vial.role == "reference" for vial in self.vials) < 2:
            raise ValueError("at least two vials must have role = 'reference'")
        for index, vial in enumerate(self.vials):
            if math.dist(vial.position, (0.0, 0.0, 0.0)) + vial.radius > self.radius:
                raise ValueError(
                    f"vial {vial.name!r} reaches outside the phantom's radius of {self.radius} m"
                )
            for other in self.vials[:index]:
                if math.dist(vial.position, other.position) < vial.radius + other.radius:
                    raise ValueError(f"vials {other.name!r} and {vial.name!r} overlap")
        return self


class Scan(Table):
    """The sodium scan: density-adapted 3D radial, ultrashort echo time."""

    nucleus: NucleusName = Field(default="23Na", description="One of array.nuclei.")
    field_of_view: Annotated[Metre, Field(gt=0.0)] = Field(
        default=0.32, description="Edge of the image cube, m."
    )
    matrix: int = Field(default=64, ge=8, le=256, description="Voxels along each edge.")
    spokes: int = Field(default=3200, ge=64, description="Golden-means directions, one a repetition.")
    readout_duration: Second = Field(
        default=5e-3, description="From the start of the gradients to the last sample, s."
    )
    dwell_time: Annotated[Second, Field(ge=1e-6, le=50e-6)] = Field(
        default=10e-6,
        description="Complex sample interval, s: 50 us to 1 us is 20 kHz to 1 MHz of bandwidth.",
    )
    repetition_time: Second = Field(default=0.1, description="TR, s.")
    noise_windows: int = Field(default=128, ge=8, description="Acquired first, with the RF amplifier off.")
    repetitions: int = Field(
        default=2, ge=1, le=2, description="2: the second scan checks the SNR of the first."
    )
    maximum_gradient: TeslaPerMetre = Field(default=12e-3, description="Of the design, T/m.")
    maximum_slew_rate: TeslaPerMetreSecond = Field(default=170.0, description="Of the design, T/m/s.")


class Limits(Table):
    """What makes a run pass, and what no driver may exceed."""

    s11_db: Annotated[Decibel, Field(lt=0.0)] = Field(
        default=-20.0, description="Every port at its own Larmor frequency, dB."
    )
    coupling_db: Annotated[Decibel, Field(lt=0.0)] = Field(
        default=-10.0, description="Largest |Sij| between channels of one nucleus, dB."
    )
    isolation_db: Annotated[Decibel, Field(lt=0.0)] = Field(
        default=-10.0, description="Largest |Sij| between ports of different nuclei, dB."
    )
    q_ratio: float | None = Field(
        default=None, gt=1.0, description="Smallest Q without over Q with the load; not judged by default."
    )
    detuning_db: Annotated[Decibel, Field(gt=0.0)] = Field(
        default=25.0, description="Smallest depth of active detuning, dB."
    )
    preamplifier_decoupling_db: Annotated[Decibel, Field(gt=0.0)] = Field(
        default=15.0, description="Smallest preamplifier decoupling, dB."
    )
    noise_correlation: float = Field(default=0.6, gt=0.0, le=1.0, description="Largest |ρ| between channels.")
    noise_level_db: Annotated[Decibel, Field(gt=0.0)] = Field(
        default=1.0, description="Largest difference of a channel's noise from what S predicts, dB."
    )
    snr_minimum: float = Field(
        default=4.0, gt=0.0, description="Median voxel SNR in the background compartment."
    )
    tsc_tolerance_mmol_l: float = Field(
        default=6.0, gt=0.0, description="Largest error of a check vial, mmol/L."
    )
    source_power_dbm: DecibelMilliwatt = Field(
        default=0.0, description="The analyzer's driver refuses more, dBm."
    )
    bias_current: Ampere = Field(default=0.1, description="The tuner's driver refuses more, A.")


class Sweep(Table):
    """How the sweeps are made."""

    sweep_power_dbm: DecibelMilliwatt = Field(default=-10.0, description="Of every sweep, dBm.")
    if_bandwidth: Hertz = Field(default=1e3, description="Of every sweep, Hz.")
    points: int = Field(default=201, ge=11, le=5001, description="For each nucleus.")
    span: float = Field(
        default=0.2, gt=0.0, lt=1.0, description="Half width of the first sweep over its centre."
    )


class PhantomFile(Table):
    """What foreign data must be told: the phantom, and by what it is judged."""

    phantom: Phantom
    limits: Limits = Limits()
    qc: QualityLimits = QualityLimits()


class BenchFile(PhantomFile):
    """The whole bench file."""

    name: str = Field(min_length=1, max_length=64)
    b0: Tesla = Field(description="Field of the magnet, T.")
    instruments: Instruments
    array: Array
    scan: Scan = Scan()
    sweep: Sweep = Sweep()

    @model_validator(mode="after")
    def _scan_nucleus_is_in_the_array(self) -> BenchFile:
        if self.scan.nucleus not in self.array.nuclei:
            raise ValueError(
                f"scan.nucleus {self.scan.nucleus} is not among array.nuclei {self.array.nuclei}"
            )
        return self

    def larmor_frequency(self, name: str, /) -> float:
        """Return the Larmor frequency in Hz of the nucleus ``name`` in this bench's field."""
        return NUCLEI[name].larmor_frequency(self.b0)


_File = TypeVar("_File", bound=PhantomFile)


def read_bench_file(path: Path, /) -> BenchFile:
    """Read and check a bench file.

    Raises
    ------
    BenchFileError
        The file cannot be read or holds mistakes; the text lists all of them, each with its line.
    """
    return _checked(path, *_read_toml(path), BenchFile)


def read_phantom_file(path: Path, /) -> PhantomFile:
    """Read the phantom and its limits from a bench file, or from a file that holds these tables alone.

    Raises
    ------
    BenchFileError
        The file cannot be read or holds mistakes; the text lists all of them, each with its line.
    """
    text, tables = _read_toml(path)
    return _checked(path, text, tables, BenchFile if "instruments" in tables else PhantomFile)


def _read_toml(path: Path) -> tuple[str, dict[str, object]]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BenchFileError(
            f"{path}: cannot be read ({error.strerror}); `coilbench init` writes a bench file to start from"
        ) from error
    if len(raw) > MAXIMUM_FILE_BYTES:
        raise BenchFileError(
            f"{path}: {len(raw)} bytes is too large for a bench file (at most {MAXIMUM_FILE_BYTES})"
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BenchFileError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BenchFileError(f"{path}: is not TOML: {error}") from error


def _checked(path: Path, text: str, tables: dict[str, object], model: type[_File]) -> _File:
    try:
        return model.model_validate(tables)
    except ValidationError as error:
        mistakes = describe_mistakes(path, text, error, model)
        raise BenchFileError("\n".join(mistakes)) from None
