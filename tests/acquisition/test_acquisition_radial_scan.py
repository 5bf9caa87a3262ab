"""A radial scan on scanner and receivers in memory: phase, trajectory, faults and safety."""

from __future__ import annotations

import threading
import time

import ismrmrd
import numpy as np
import pytest

from acquisition.header import recorded_spoke
from acquisition.playback import StreamReader, read_stream
from acquisition.radial_scan import acquire, plan_scan, prepare_scan
from acquisition.record import write_hdf5
from acquisition.sort import LineFlag
from acquisition.stream import StreamWriter
from coilbench.base.errors import ConnectionLost, DataLost, InstrumentError, InstrumentFault, RunAborted
from drivers.protocols import Receiver, Scanner

FOV, MATRIX = 0.32, 20


def _plan(**changes):
    arguments = {
        "fov": FOV,
        "matrix": MATRIX,
        "spokes": 24,
        "readout_duration": 2e-3,
        "repetition_time": 20e-3,
        "noise_windows": 12,
        **changes,
    }
    return plan_scan(**arguments)


def _expected(bench, acquisition):
    """Return the exact signal of the object on the stated trajectory, shape (channel, sample)."""
    k = acquisition.traj.astype(np.float64) * MATRIX / FOV
    return bench.spins.sensitivities[:, None] * bench.spins.signal(k)


def test_spokes_carry_the_exact_signal_on_their_trajectory(make_bench):
    """Amplitude and phase agree with the exact sum for every spoke, channel and sample.

    The receive chain may be wrong by its ripple (0.2 % of full signal); the oscillator is several Hz
    off, which uncorrected would turn the phase by degrees within the readout.
    """
    bench = make_bench()
    scan = prepare_scan(bench.scanner, bench.receiver, _plan())
    assert abs(scan.plan.larmor_frequency - scan.setting.plan.frequency) > 1.0
    assert abs(scan.plan.larmor_frequency - scan.plan.transmit_frequency) > 1.0
    acquisitions = list(scan.acquire())
    assert [a.idx.kspace_encode_step_1 for a in acquisitions] == list(range(24))
    turned = np.exp(1j * np.angle(np.vdot(_expected(bench, acquisitions[0]), acquisitions[0].data)))
    assert turned == pytest.approx(1.0, abs=2e-3)
    for acquisition in acquisitions:
        np.testing.assert_allclose(acquisition.data, _expected(bench, acquisition), atol=3e-3)
        radius = np.linalg.norm(acquisition.traj, axis=1)
        assert radius[0] < 1e-3
        assert 0.5 - 4e-3 < radius[-1] <= 0.5 + 1e-6
        assert acquisition.user_int[0] == 0
        assert acquisition.sample_time_us == pytest.approx(scan.setting.plan.dwell_time * 1e6)
    assert bench.rf is False


def test_repetitions_out_of_phase_would_show(make_bench):
    """A TR that is 0.3 us longer than planned turns the phase from shot to shot: the test above sees it."""
    bench = make_bench(stretch=0.3e-6)
    acquisitions = list(acquire(bench.scanner, bench.receiver, _plan(spokes=3, noise_windows=0)))
    assert np.abs(acquisitions[1].data - _expected(bench, acquisitions[1])).max() > 0.1


def test_decimated_scan(make_bench):
    """At a dwell time beyond the receivers' slowest the host decimates; data stay true to 0.5 %.

    The slew rate is low, because 14 kHz of bandwidth cannot follow a sharp bend of the trajectory.
    """
    bench = make_bench()
    slow = {"dwell_time": 50e-6, "dead_time": 0.5e-3, "max_gradient": 3e-3, "max_slew": 5.0}
    plan = _plan(spokes=3, noise_windows=3, readout_duration=4e-3, **slow)
    assert plan.decimation == 2
    scan = prepare_scan(bench.scanner, bench.receiver, plan)
    assert scan.receive_filter.output_interval == pytest.approx(50e-6, rel=2e-2)
    for acquisition in scan.acquire():
        np.testing.assert_allclose(acquisition.data, _expected(bench, acquisition), atol=5e-3)


def test_noise_scan_is_flagged_and_has_the_stated_bandwidth(make_bench):
    """Without RF: flagged, no trajectory, white density N0 measured as N0·B within its sampling error."""
    bench = make_bench(noise_density=3e-18)
    scan = prepare_scan(bench.scanner, bench.receiver, _plan())
    acquisitions = list(scan.acquire(noise=True))
    assert len(acquisitions) == 12
    assert "rf True" not in bench.log
    for acquisition in acquisitions:
        assert acquisition.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        assert acquisition.trajectory_dimensions == 0
        assert acquisition.user_int[0] == LineFlag.NOISE
    samples = np.concatenate([a.data for a in acquisitions], axis=1)
    power = np.mean(np.abs(samples) ** 2)
    # About nine in ten samples are independent.
    assert power == pytest.approx(
        3e-18 * scan.receive_filter.noise_bandwidth, rel=4 / np.sqrt(0.9 * samples.size)
    )


def test_next_run_plays_while_the_last_is_consumed(make_bench):
    """The second run is armed and collected although the caller has taken only one spoke of the first."""
    bench = make_bench()
    ahead = threading.Event()
    collect = bench.receiver.collect

    def watched(**arguments):
        block = collect(**arguments)
        if bench.receiver.collected == 2:
            ahead.set()
        return block

    bench.receiver.collect = watched
    spokes = acquire(bench.scanner, bench.receiver, _plan())
    next(spokes)
    assert ahead.wait(10.0)
    assert bench.receiver.collected == 2
    spokes.close()


def test_lost_runs_are_played_again(make_bench):
    """An overflow and a run with missing windows: all spokes arrive once, exact, and the repeats are told."""
    bench = make_bench()
    events = []
    bench.receiver.faults = {0: DataLost("FIFO overflow"), 1: 5}
    scan = prepare_scan(bench.scanner, bench.receiver, _plan())
    acquisitions = list(scan.acquire(on_event=events.append))
    assert sorted(a.idx.kspace_encode_step_1 for a in acquisitions) == list(range(24))
    for acquisition in acquisitions:
        np.testing.assert_allclose(acquisition.data, _expected(bench, acquisition), atol=3e-3)
    repeated = [event for event in events if event.kind == "scan.repeated"]
    assert [(event.data["first"], event.data["count"]) for event in repeated] == [(0, 9), (14, 4)]
    assert events[-1].data["done"] == 24


def test_data_lost_every_time_is_an_error(make_bench):
    """After two repeats the scan gives up with a reason; the other spokes came, RF is off."""
    bench = make_bench()
    bench.receiver.faults = {number: DataLost("FIFO overflow") for number in (0, 3, 4)}
    taken = []
    with pytest.raises(DataLost, match=r"lost 3 times: FIFO overflow"):
        taken.extend(a.idx.kspace_encode_step_1 for a in acquire(bench.scanner, bench.receiver, _plan()))
    assert taken == list(range(9, 24))
    assert bench.rf is False
    assert "safe" in bench.log


def test_abort_stops_before_the_next_run(make_bench):
    """The caller's wish is met at the next run; RF goes off and the receivers are halted."""
    bench = make_bench()
    taken = []
    spokes = acquire(bench.scanner, bench.receiver, _plan(), abort=lambda: len(taken) >= 9)
    with pytest.raises(RunAborted, match="stopped on request"):
        taken.extend(spokes)
    # One run is always ahead: it may have been received before the wish was made.
    assert len(taken) in (9, 18)
    assert bench.log[-2:] == ["safe", "receiver safe"]
    assert bench.rf is False


def test_consumer_that_stops_leaves_rf_off(make_bench):
    """Closing the iterator early is as safe as an error."""
    bench = make_bench()
    spokes = acquire(bench.scanner, bench.receiver, _plan())
    next(spokes)
    assert bench.rf is True
    spokes.close()
    assert bench.rf is False
    assert "receiver safe" in bench.log


def test_receiver_that_vanishes_is_named(make_bench):
    """The driver's own error arrives unchanged after the spokes before it."""
    bench = make_bench()
    bench.receiver.faults = {1: ConnectionLost("board 2", "closed the connection")}
    taken = []
    with pytest.raises(ConnectionLost, match="board 2"):
        taken.extend(acquire(bench.scanner, bench.receiver, _plan()))
    assert len(taken) == 9
    assert bench.rf is False


def test_other_magnet_or_sequence_is_refused(make_bench):
    """A plan for another field, or a scanner that counts other triggers, ends before anything is played."""
    bench = make_bench()
    with pytest.raises(InstrumentError, match=r"planned for 2\.9 T"):
        prepare_scan(bench.scanner, bench.receiver, _plan(b0=2.9))
    bench.scanner.ignored_triggers = 1
    with pytest.raises(InstrumentFault, match="23 triggers"):
        prepare_scan(bench.scanner, bench.receiver, _plan())
    assert bench.log == []


def test_recorded_scan_reads_back_whole(make_bench, tmp_path):
    """Noise and scan go through raw.mrd into HDF5; header, data and weights survive both."""
    bench = make_bench(noise_density=1e-20)
    scan = prepare_scan(bench.scanner, bench.receiver, _plan())
    with StreamWriter(tmp_path / "raw.mrd", scan.header()) as writer:
        scans = (scan.acquire(noise=True), scan.acquire(), scan.acquire(repetition=1))
        sent = [acquisition for played in scans for acquisition in writer.record(played)]
    assert list(read_stream(tmp_path / "raw.mrd")) == sent
    assert [a.scan_counter for a in sent] == list(range(12 + 2 * 24))
    assert [a.idx.repetition for a in sent] == [0] * 36 + [1] * 24
    assert write_hdf5(tmp_path / "raw.mrd", tmp_path / "scan.h5") == 60
    with ismrmrd.File(str(tmp_path / "scan.h5"), "r") as file:
        assert list(file["dataset"].acquisitions[:]) == sent
        header = file["dataset"].header
    with StreamReader(tmp_path / "raw.mrd") as reader:
        assert reader.header == header
    strings = {item.name: item.value for item in header.userParameters.userParameterString}
    doubles = {item.name: item.value for item in header.userParameters.userParameterDouble}
    system = header.acquisitionSystemInformation
    assert strings["nucleus"] == "23Na"
    assert doubles["centerFrequency_Hz"] == scan.plan.larmor_frequency
    assert doubles["transmitFrequency_Hz"] == scan.plan.transmit_frequency
    assert doubles["receiverNoiseBandwidth_Hz"] == scan.receive_filter.noise_bandwidth
    assert system.relativeReceiverNoiseBandwidth == pytest.approx(
        scan.receive_filter.relative_noise_bandwidth
    )
    assert [label.coilName for label in system.coilLabel] == ["ch1", "ch2", "ch3"]
    assert header.experimentalConditions.H1resonanceFrequency_Hz == 127732435
    assert header.encoding[0].trajectory.value == "radial"
    readout = scan.readout.times - scan.plan.dead_time
    design, times = recorded_spoke(header, sent[-1].number_of_samples)
    assert design == scan.plan.design
    np.testing.assert_allclose(times, readout, atol=1e-12)
    nominal = scan.plan.directions[3] * design.radius(times)[:, None]
    stored = np.asarray(sent[12 + 3].traj) * scan.plan.matrix / scan.plan.fov
    np.testing.assert_allclose(stored, nominal, atol=1e-5 * design.kmax)
    with pytest.raises(ValueError, match="2 coil labels for 3"):
        scan.header(["a", "b"])


def test_own_cost_of_a_full_scan(make_bench):
    """3200 windows of 8 channels and 524 samples cost less than 6 s of processor time in this layer."""
    bench = make_bench()
    plan = plan_scan()
    rng = np.random.default_rng(3)
    bench.receiver.channel_count = 8
    bench.receiver.windows_per_run = 16384 // plan.window_samples
    window = np.ascontiguousarray(rng.standard_normal((8, plan.window_samples)), dtype=np.complex64)
    bench.receiver.sample = lambda *_: window
    bench.scanner.load = lambda _: setattr(bench.scanner, "spokes", [(0.0, None, None)] * 3200) or 3200
    start = time.process_time()
    count = sum(1 for _ in acquire(bench.scanner, bench.receiver, plan))
    assert count == 3200
    assert time.process_time() - start < 6.0


def test_fakes_keep_the_protocols(make_bench):
    """What these tests play on has every member of the instrument protocols."""
    bench = make_bench()
    scanner: Scanner = bench.scanner
    receiver: Receiver = bench.receiver
    for protocol, fake in ((Scanner, scanner), (Receiver, receiver)):
        missing = [name for name in dir(protocol) if not name.startswith("_") and not hasattr(fake, name)]
        assert missing == []
