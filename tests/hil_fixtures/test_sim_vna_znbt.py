"""The simulated ZNBT sweeps, averages, orders, times and forgets as its manual says."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import pyvisa

from hil_fixtures.instruments.device_under_test import AsymmetricNetwork
from hil_fixtures.instruments.rs_znbt import RsZnbt
from hil_fixtures.instruments.znbt_channel import nearest_bandwidth
from hil_fixtures.physics.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from pyvisa.resources import MessageBasedResource

#: Additive noise of S at 1 kHz IF bandwidth and -10 dBm with a floor of -110 dBm in 10 Hz: -80 dB.
SIGMA = 1e-4


class SlowlyTuned(AsymmetricNetwork):
    """A network that can be changed between sweeps."""

    def __init__(self, port_count: int) -> None:
        super().__init__(port_count)
        self.factor = 1.0

    def scattering(self, frequencies: NDArray[np.float64], /) -> NDArray[np.complex128]:
        return self.factor * super().scattering(frequencies)


@pytest.fixture
def device() -> SlowlyTuned:
    return SlowlyTuned(16)


@pytest.fixture
def analyzer(device: SlowlyTuned) -> Iterator[RsZnbt]:
    with RsZnbt(device) as analyzer:
        yield analyzer


@pytest.fixture
def manager() -> Iterator[pyvisa.ResourceManager]:
    manager = pyvisa.ResourceManager("@py")
    yield manager
    manager.close()


@pytest.fixture
def open_visa(manager: pyvisa.ResourceManager) -> Callable[[str], MessageBasedResource]:
    def open_visa(resource: str) -> MessageBasedResource:
        return manager.open_resource(resource, read_termination="\n", write_termination="\n", timeout=3000)

    return open_visa


@pytest.fixture
def visa(
    analyzer: RsZnbt, open_visa: Callable[[str], MessageBasedResource]
) -> Iterator[MessageBasedResource]:
    visa = open_visa(analyzer.hislip_resource)
    visa.write("INIT:CONT OFF;:FREQ:STAR 120 MHz;STOP 130 MHz;:SWE:POIN 11;:BAND 1 kHz")
    yield visa
    assert visa.query("SYST:ERR?") == '0,"No error"'


def matrix(visa: MessageBasedResource, query: str, ports: int) -> NDArray[np.complex128]:
    """Read REAL,64 little-endian data, trace by trace, as (frequency, port, port)."""
    visa.write("FORM REAL,64;FORM:BORD SWAP")
    flat = visa.query_binary_values(query, datatype="d", container=np.array)
    return (flat[::2] + 1j * flat[1::2]).reshape(ports, ports, -1).transpose(2, 0, 1)


def single_sweep(visa: MessageBasedResource) -> None:
    visa.write("INIT1:IMM")
    assert visa.query("*OPC?") == "1"


def test_both_links_reach_the_same_instrument(
    analyzer: RsZnbt, visa: MessageBasedResource, open_visa: Callable[[str], MessageBasedResource]
) -> None:
    """Settings, errors and status are one, whichever link set them."""
    raw = open_visa(analyzer.socket_resource)
    raw.write("SENS1:FREQ:STOP 131 MHz;:NONSENSE")
    assert raw.query("*OPC?") == "1"
    assert visa.query("SENS1:FREQ:STOP?") == "131000000"
    assert visa.read_stb() & 4
    assert visa.query("SYST:ERR?") == '-113,"Undefined header;:NONSENSE"'
    assert raw.query("SYST:ERR?") == '0,"No error"'


@pytest.mark.parametrize("query", ["CALC1:DATA:SGR? SDAT", "CALC1:DATA:CALL? SDAT"])
def test_group_data_is_row_by_row(visa: MessageBasedResource, query: str) -> None:
    """S11 S12 S13 S21 ...: no entry equals another, so a swapped pair is seen."""
    visa.write("CALC1:PAR:DEL:ALL;:CALC1:PAR:DEF:SGR 2,7,16")
    single_sweep(visa)
    index = np.array([1, 6, 15])
    true = AsymmetricNetwork(16).scattering(np.linspace(120e6, 130e6, 11))[:, index[:, None], index]
    assert np.max(np.abs(matrix(visa, query, 3) - true)) < 6 * SIGMA
    catalog = "'S22,S27,S0216,S72,S77,S0716,S1602,S1607,S1616'"
    assert visa.query("CALC1:DATA:CALL:CAT?") == catalog


def test_calibrated_ports_are_read_without_traces(visa: MessageBasedResource) -> None:
    """With a full 16-port correction DATA:CALL is the whole matrix, though only one trace exists."""
    visa.write("MMEM:LOAD:CORR 1,'array.cal'")
    single_sweep(visa)
    true = AsymmetricNetwork(16).scattering(np.linspace(120e6, 130e6, 11))
    assert np.max(np.abs(matrix(visa, "CALC1:DATA:CALL? SDAT", 16) - true)) < 6 * SIGMA
    names = visa.query("CALC1:DATA:CALL:CAT?").strip("'").split(",")
    assert len(names) == 256
    assert (names[0], names[1], names[9], names[-1]) == ("S11", "S12", "S0110", "S1616")


@pytest.mark.parametrize(
    ("form", "border", "header", "kind"),
    [
        ("REAL,64", "SWAP", b"#288", "<f8"),
        ("REAL,64", "NORM", b"#288", ">f8"),
        ("REAL,32", "SWAP", b"#244", "<f4"),
        ("REAL", "NORM", b"#244", ">f4"),
    ],
)
def test_binary_axis_equals_the_ascii_axis(
    visa: MessageBasedResource, form: str, border: str, header: bytes, kind: str
) -> None:
    """Block header, width and byte order; a bare REAL has 32 bits."""
    ascii_axis = visa.query_ascii_values("CALC1:DATA:STIM?", container=np.array)
    visa.write(f"FORM {form};FORM:BORD {border};:CALC1:DATA:STIM?")
    raw = visa.read_raw()
    assert raw.startswith(header)
    assert raw.endswith(b"\n")
    np.testing.assert_array_equal(np.frombuffer(raw[len(header) : -1], kind), ascii_axis.astype(kind))


def test_data_are_not_a_number_until_swept_and_after_the_axis_changed(visa: MessageBasedResource) -> None:
    """9.91E37 for what was not measured: before a sweep, on a new axis, and on a trace not yet swept."""

    def first_value(trace: str = "Trc1") -> float:
        return visa.query_ascii_values(f"CALC1:DATA:TRAC? '{trace}', SDAT")[0]

    assert first_value() == 9.91e37
    single_sweep(visa)
    assert abs(first_value()) < 1.0
    visa.write("SWE:POIN 12")
    assert first_value() == 9.91e37
    single_sweep(visa)
    visa.write("CALC1:PAR:SDEF 'new','S33'")
    assert abs(first_value()) < 1.0
    assert first_value("new") == 9.91e37


def test_held_data_are_stale_and_continuous_data_are_fresh(
    visa: MessageBasedResource, device: SlowlyTuned
) -> None:
    """In single sweep the data stay those of the last sweep; in continuous they follow the device."""
    single_sweep(visa)
    before = visa.query_ascii_values("CALC1:DATA? SDAT")
    device.factor = 0.5
    assert visa.query_ascii_values("CALC1:DATA? SDAT") == before
    visa.write("INIT1:CONT ON")
    np.testing.assert_allclose(
        visa.query_ascii_values("CALC1:DATA? SDAT"), 0.5 * np.array(before), atol=6 * SIGMA
    )
    visa.write("INIT1:CONT OFF")


def test_noise_follows_bandwidth_and_power(visa: MessageBasedResource, device: SlowlyTuned) -> None:
    """RMS noise of S is 10^((-110 dBm + 10 lg(B/10 Hz) - P)/20); 4000 values give 1.6 % (2 sigma: 3 %)."""
    device.factor = 0.0
    visa.write("SWE:POIN 4001;:FORM REAL,64")
    for bandwidth, power in ((1e3, -10.0), (1e3, 0.0), (1e5, -30.0)):
        visa.write(f"BAND {bandwidth};:SOUR:POW {power}")
        single_sweep(visa)
        values = visa.query_binary_values("CALC1:DATA? SDAT", datatype="d", container=np.array)
        rms = np.sqrt(2.0 * np.mean(values**2))
        expected = 10.0 ** ((-110.0 + 10.0 * np.log10(bandwidth / 10.0) - power) / 20.0)
        assert rms == pytest.approx(expected, rel=0.05)


def test_average_of_n_sweeps_has_noise_down_by_root_n(
    visa: MessageBasedResource, device: SlowlyTuned
) -> None:
    """16 sweeps in one go and 4 x 4 sweeps both end at a quarter of the noise; without averaging none."""
    device.factor = 0.0
    visa.write("SWE:POIN 4001;:FORM REAL,64")

    def rms() -> float:
        single_sweep(visa)
        values = visa.query_binary_values("CALC1:DATA? SDAT", datatype="d", container=np.array)
        return float(np.sqrt(2.0 * np.mean(values**2))) / SIGMA

    visa.write("SWE:COUN 16")
    assert rms() == pytest.approx(1.0, rel=0.05)
    visa.write("AVER:COUN 16;:AVER ON")
    assert rms() == pytest.approx(0.25, rel=0.05)
    visa.write("AVER:CLE;:SWE:COUN 4")
    assert [rms() for _ in range(4)] == pytest.approx([0.5, 8**-0.5, 12**-0.5, 0.25], rel=0.05)
    assert visa.query("CALC1:DATA:NSW:COUN?") == "4"


def test_same_seed_same_noise(open_visa: Callable[[str], MessageBasedResource]) -> None:
    sweeps = []
    for seed in (5, 5, 6):
        with RsZnbt(AsymmetricNetwork(2), seed=seed) as analyzer:
            visa = open_visa(analyzer.hislip_resource)
            visa.write("INIT:CONT OFF;:SWE:POIN 3")
            single_sweep(visa)
            sweeps.append(visa.query("CALC1:DATA? SDAT"))
            visa.close()
    assert sweeps[0] == sweeps[1] != sweeps[2]


def test_sweep_time_is_points_over_bandwidth_times_driven_ports(visa: MessageBasedResource) -> None:
    """11 points at 1 kHz: one drive for S11, three for a group of three, 16 with the 16-port correction."""
    times = [visa.query("SWE:TIME?")]
    for change in ("CALC1:PAR:DEF:SGR 1,2,3", "MMEM:LOAD:CORR 1,'array.cal'", "MMEM:LOAD:CORR:RES 1"):
        visa.write(change)
        times.append(visa.query("SWE:TIME?"))
    assert [float(text) for text in times] == pytest.approx([0.011, 0.033, 0.176, 0.033])


def test_operation_complete_comes_when_the_sweeps_time_has_passed(
    open_visa: Callable[[str], MessageBasedResource],
) -> None:
    """4 sweeps of 50 points at 1 kHz take 0.2 s."""
    with RsZnbt(AsymmetricNetwork(2), time_scale=1.0) as analyzer:
        visa = open_visa(analyzer.hislip_resource)
        visa.write("INIT:CONT OFF;:SWE:POIN 50;:BAND 1 kHz;:SWE:COUN 4;*CLS")
        begin = time.monotonic()
        visa.write("INIT1:IMM;*OPC")
        assert visa.query("*OPC?") == "1"
        assert time.monotonic() - begin >= 0.2
        assert visa.query("*ESR?") == "1"
        visa.close()


def test_initiate_is_overlapped(open_visa: Callable[[str], MessageBasedResource]) -> None:
    """During a sweep of 100 s other questions are answered and the *OPC bit is not set; ABORt sets it."""
    with RsZnbt(AsymmetricNetwork(2), time_scale=1.0) as analyzer:
        visa = open_visa(analyzer.hislip_resource)
        visa.write("INIT:CONT OFF;:SWE:POIN 1000;:BAND 10 Hz;*CLS;:INIT1:IMM;*OPC")
        assert visa.query("*ESR?") == "0"
        visa.write("ABOR")
        assert visa.query("*ESR?") == "1"
        visa.close()


def test_waiting_client_keeps_nobody_else_waiting(
    open_visa: Callable[[str], MessageBasedResource],
) -> None:
    """While one client waits for *OPC? another is served, and ABORt ends the wait."""
    with RsZnbt(AsymmetricNetwork(2), time_scale=1.0) as analyzer:
        waiting, other = open_visa(analyzer.hislip_resource), open_visa(analyzer.socket_resource)
        waiting.write("INIT:CONT OFF;:SWE:POIN 1001;:BAND 10 Hz")
        waiting.write("INIT1:IMM;*OPC?")
        assert other.query("INIT:CONT?") == "0"
        other.write("ABOR")
        assert waiting.read() == "1"
        waiting.close()
        other.close()


def test_one_operation_complete_read_in_slices(open_visa: Callable[[str], MessageBasedResource]) -> None:
    """*OPC? sent once and read with short timeouts, until the sweep ends, keeps the link in step."""
    with RsZnbt(AsymmetricNetwork(2), time_scale=1.0) as analyzer:
        visa, other = open_visa(analyzer.hislip_resource), open_visa(analyzer.socket_resource)
        visa.write("INIT:CONT OFF;:SWE:POIN 1000;:BAND 10 Hz;:INIT1:IMM;*OPC?")
        visa.timeout = 20
        for _ in range(3):
            with pytest.raises(pyvisa.VisaIOError):
                visa.read()
        other.write("ABOR")
        visa.timeout = 2000
        assert visa.read() == "1"
        assert visa.query("SWE:POIN?") == "1000"
        visa.close()
        other.close()


def test_the_world_behind_the_ports(open_visa: Callable[[str], MessageBasedResource]) -> None:
    """Sodium and proton port of loop 3, its neighbour, at 23Na: what the analyzer shows is the world's S."""
    world = World(seed=2)
    low, _ = world.frequencies
    with RsZnbt(world) as analyzer:
        assert world.rf_outputs == {"analyzer": True}
        visa = open_visa(analyzer.hislip_resource)
        visa.write(f"INIT:CONT OFF;:FREQ:STAR {low - 1e6};STOP {low + 1e6};:SWE:POIN 21;:BAND 100 Hz")
        visa.write("CALC:PAR:DEF:SGR 3,4,11")
        single_sweep(visa)
        axis = np.array(visa.query_ascii_values("CALC:DATA:STIM?"))
        index = np.array([2, 3, 10])
        error = matrix(visa, "CALC:DATA:SGR? SDAT", 3) - world.scattering(axis)[:, index[:, None], index]
        assert np.max(np.abs(error)) < 6 * SIGMA * np.sqrt(0.1) + 6 * 2.3e-5
        visa.close()
    assert world.rf_outputs == {"analyzer": False}


def test_rf_register_follows_output_preset_and_power_off(device: SlowlyTuned) -> None:
    with RsZnbt(device) as analyzer:
        assert device.rf_outputs == {"analyzer": True}
        changes = {"OUTP OFF": False, "*RST": True, "OUTP1:STAT 0": False, "OUTP ON": True}
        for message, state in changes.items():
            send(analyzer, message)
            assert device.rf_outputs["analyzer"] is state
    assert device.rf_outputs == {"analyzer": False}


def send(analyzer: RsZnbt, message: str) -> None:

    with socket.create_connection(analyzer.socket_address, timeout=2) as link:
        link.sendall(message.encode() + b";*OPC?\n")
        assert link.recv(100) == b"1\n"


def test_without_rf_the_sweep_shows_noise(visa: MessageBasedResource) -> None:
    """With the output off the ratio of two noises is measured, nowhere near the device's 0.056."""
    visa.write("OUTP OFF")
    single_sweep(visa)
    values = np.array(visa.query_ascii_values("CALC1:DATA? SDAT"))
    assert np.median(np.hypot(values[::2], values[1::2])) > 0.3


def test_ports_with_nothing_connected_reflect(open_visa: Callable[[str], MessageBasedResource]) -> None:
    with RsZnbt(AsymmetricNetwork(4)) as analyzer:
        visa = open_visa(analyzer.hislip_resource)
        visa.write("INIT:CONT OFF;:SWE:POIN 2;:BAND 1 kHz;:CALC:PAR:DEF:SGR 4,5")
        single_sweep(visa)
        s = matrix(visa, "CALC:DATA:SGR? SDAT", 2)
        assert np.max(np.abs(s[:, 1, 1] - 1.0)) < 10 * SIGMA
        assert np.max(np.abs(s[:, 0, 1])) < 6 * SIGMA
        visa.close()


@pytest.mark.parametrize(
    ("wanted", "step"),
    [(1.0, 1.0), (1.1, 1.5), (999.0, 1e3), (1e3, 1e3), (5.1e4, 7e4), (7.1e5, 1e6), (9e9, 1e6)],
)
def test_bandwidth_steps(wanted: float, step: float) -> None:
    """1, 1.5, 2, 3, 5, 7 times powers of ten, rounded up, at most 1 MHz."""
    assert nearest_bandwidth(wanted) == step


def test_segmented_sweep_measures_only_its_segments(visa: MessageBasedResource) -> None:
    """Two nuclei in one trigger; each segment with its own bandwidth."""
    visa.write(
        "SEGM:DEL:ALL;:SEGM1:INS 33MHZ,34MHZ,5,-10DBM,0S,0,100HZ;:SEGM2:INS 127MHZ,128MHZ,3,-10DBM,0S,0,1KHZ"
    )
    visa.write("SWE:TYPE SEGM;:CALC1:PAR:DEF:SGR 1,9")
    single_sweep(visa)
    axis = np.array([33e6, 33.25e6, 33.5e6, 33.75e6, 34e6, 127e6, 127.5e6, 128e6])
    np.testing.assert_array_equal(visa.query_ascii_values("CALC1:DATA:STIM?"), axis)
    index = np.array([0, 8])
    true = AsymmetricNetwork(16).scattering(axis)[:, index[:, None], index]
    assert np.max(np.abs(matrix(visa, "CALC1:DATA:SGR? SDAT", 2) - true)) < 6 * SIGMA
    assert float(visa.query("SEGM:SWE:TIME:SUM?")) == pytest.approx(2 * (5 / 100 + 3 / 1000))


def test_formatted_data(visa: MessageBasedResource) -> None:
    """One value per point in Cartesian formats, two in polar ones."""
    single_sweep(visa)
    raw = np.array(visa.query_ascii_values("CALC1:DATA? SDAT"))
    s = raw[::2] + 1j * raw[1::2]
    for name, expected in (
        ("MLOG", 20 * np.log10(np.abs(s))),
        ("MLIN", np.abs(s)),
        ("PHAS", np.degrees(np.angle(s))),
        ("IMAG", s.imag),
        ("SMIT", raw),
    ):
        visa.write(f"CALC1:FORM {name}")
        np.testing.assert_allclose(visa.query_ascii_values("CALC1:DATA? FDAT"), expected, rtol=1e-12)


def test_switching_off_mid_sweep_leaves_no_thread(open_visa: Callable[[str], MessageBasedResource]) -> None:
    with RsZnbt(AsymmetricNetwork(2), time_scale=1.0) as analyzer:
        visa = open_visa(analyzer.hislip_resource)
        visa.write("INIT:CONT OFF;:SWE:POIN 1001;:BAND 10 Hz;:INIT;*OPC?")
        assert visa.read_stb() == 0
    visa.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("instrument")]
