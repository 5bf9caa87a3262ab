"""A small scan over real sockets: simulated scanner, four receiver boards of two channels, one world."""

from __future__ import annotations

import numpy as np
import pytest

from acquisition.radial_scan import plan_scan, prepare_scan
from acquisition.sort import LineFlag
from coilbench.base.errors import DataLost
from drivers.registry import open_instrument
from hil_fixtures.instruments.lab import Lab
from hil_fixtures.physics import kspace
from hil_fixtures.physics.shot import Shot


@pytest.fixture(scope="module")
def lab():
    """Return a running lab whose coils are tuned."""
    with Lab(tuned=True, seed=3, serial=False) as running:
        yield running


@pytest.fixture
def instruments(lab):
    """Return scanner and receiver, open."""
    receiver = open_instrument("marcos", lab.addresses["receivers"], name="receivers")
    scanner = open_instrument("coilbench-scanner", lab.addresses["scanner"], name="scanner")
    yield scanner, receiver
    scanner.close()
    receiver.close()


def test_scan_on_the_wire_is_coherent_from_shot_to_shot(lab, instruments):
    """All spokes meet at k = 0: there they differ by noise alone, across runs, boards and repetitions.

    Noise and scan have 64 · 8 and 32 · 8 · 500 complex values: the ratio of their variances has a relative
    standard deviation of 4.4 %, and the first shot, which is not yet saturated, may add as much.
    """
    scanner, receiver = instruments
    events = []
    scan = prepare_scan(scanner, receiver, plan_scan(spokes=64, noise_windows=32))
    assert receiver.windows_per_run < 32, "the scan needs several runs, or it would test too little"
    noise = list(scan.acquire(noise=True, on_event=events.append))
    assert lab.state["rf"]["scanner"] is False
    spokes = list(scan.acquire(on_event=events.append))
    assert lab.state["rf"]["scanner"] is False
    assert [a.user_int[1] for a in noise] == list(range(32))
    assert [a.idx.kspace_encode_step_1 for a in spokes] == list(range(64))
    assert events[-1].message == "64 of 64 spokes"
    assert scan.readout.flags == LineFlag.NONE
    variance = np.mean([np.mean(np.abs(a.data) ** 2, axis=1) for a in noise], axis=0)
    centre = np.stack([a.data[:, 0] for a in spokes])
    assert (np.abs(centre.mean(axis=0)) ** 2 / variance).min() > 25.0
    spread = np.mean(np.abs(centre - centre.mean(axis=0)) ** 2 / variance) * 64 / 63
    assert spread == pytest.approx(1.0, abs=5 * 0.044)
    # Far out there is no signal left: noise again, and its level says that the scan adds none.
    edge = np.mean([np.mean(np.abs(a.data[:, -100:]) ** 2, axis=1) for a in spokes], axis=0)
    assert np.mean(edge / variance) == pytest.approx(1.0, abs=0.15)


def _truth(lab, scan, shift=0.0):
    """Return the noise-free spokes (spoke, channel, sample) of the world's spins, no filter in between.

    ``shift`` is a delay of the sampling against the gradients in s.
    """
    plan, times = scan.plan, scan.readout.times
    radius = plan.design.radius(times - plan.dead_time + shift)
    shot = Shot(
        index=0,
        time=0.0,
        transmit_frequency=plan.transmit_frequency,
        flip_angle=plan.flip_angle,
        rf_centre=-plan.pulse_duration / 2,
        rf_duration=plan.pulse_duration,
        repetition_time=plan.repetition_time,
        direction=plan.directions[0],
        k_times=times,
        k_radius=radius,
    )
    listener = lab.world._listener
    content, temperature = listener._content, listener._temperature
    spokes = kspace.prepare(content, shot, times, plan.nucleus, plan.b0, temperature)
    receive = lab.world.receive_chain(scan.setting.plan.frequency).volts_per_flux()
    return kspace.spoke_signals(content, receive, spokes, plan.directions)


def test_volts_timing_and_noise_are_those_of_the_world(lab, instruments):
    """Against the analytic k-space of the world: gain 1, no delay, nothing but noise left over.

    The truth knows neither receivers nor filters. Each tolerance is five standard deviations of its estimate,
    for the gain plus the receive chain's ripple. A constant phase is free: the boards restart their
    oscillators some clocks after the trigger.
    """
    scanner, receiver = instruments
    scan = prepare_scan(scanner, receiver, plan_scan(spokes=128, noise_windows=32))
    variance = np.mean([np.mean(np.abs(a.data) ** 2) for a in scan.acquire(noise=True)])
    # The first shot meets spins that are not saturated yet.
    measured = np.stack([a.data for a in scan.acquire()])[1:]
    truth = _truth(lab, scan)[1:]
    gain = np.vdot(truth, measured) / np.vdot(truth, truth).real
    assert abs(gain) == pytest.approx(1.0, abs=5 * np.sqrt(variance / 2 / np.vdot(truth, truth).real) + 2e-3)
    slope = gain * (_truth(lab, scan, 1e-7) - _truth(lab, scan, -1e-7))[1:] / 2e-7
    rest = measured - gain * truth
    delay = np.vdot(slope, rest).real / np.vdot(slope, slope).real
    assert abs(delay) < 5 * np.sqrt(variance / 2 / np.vdot(slope, slope).real)
    assert abs(delay) < 0.3e-6
    assert np.mean(np.abs(rest) ** 2) / variance == pytest.approx(1.0, abs=0.02)


def test_board_that_overflows_ends_the_scan_with_its_name(lab, instruments):
    """Every run of board 2 overflows: after the repeats DataLost quotes the board, and RF is off."""
    scanner, receiver = instruments
    events = []
    scan = prepare_scan(scanner, receiver, plan_scan(spokes=8, noise_windows=0))
    lab.faults.receivers[1].fifo_depth = 1000
    try:
        with pytest.raises(DataLost, match="FIFO"):
            list(scan.acquire(on_event=events.append))
    finally:
        lab.faults.receivers[1].fifo_depth = None
    assert [event.kind for event in events] == ["scan.repeated"] * 2
    assert lab.state["rf"]["scanner"] is False
    assert len(list(scan.acquire())) == 8
