"""Facts about coil records: they survive JSON unchanged, and damage is told, never guessed around."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coilbench.base.errors import MeasurementError
from coilbench.base.verdict import Judged, Verdict, judge
from coils.quality import (
    Calibration,
    CoilRecord,
    Comparison,
    NucleusRecord,
    PortResonance,
    Reading,
    coil_loading,
    compare_records,
    headline_numbers,
    read_record,
    record_text,
)
from coils.quality.record import as_array, as_matrix

WHEN = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
complexes = st.builds(complex, finite, finite)
reading = st.builds(Reading, finite, st.none() | st.floats(0.0, 1e12))
text = st.text(max_size=12)


@st.composite
def nuclei(draw: st.DrawFn) -> NucleusRecord:
    count = draw(st.integers(1, 3))

    def each(what: st.SearchStrategy) -> st.SearchStrategy:  # type: ignore[type-arg]
        return st.none() | st.lists(what, min_size=count, max_size=count).map(tuple)

    row = st.lists(st.none() | complexes, min_size=count, max_size=count).map(tuple)
    fit = st.builds(PortResonance, reading, reading, reading, reading)
    return NucleusRecord(
        draw(text),
        draw(finite),
        tuple(range(1, count + 1)),
        scattering=draw(each(row)),
        isolation=draw(each(finite)),
        resonances=draw(each(st.none() | fit)),
        refusals=draw(each(text)),
        noise_correlation=draw(each(row)),
        snr_factor=draw(each(finite)),
        preamplifier_decoupling_db=draw(each(st.none() | reading)),
        detuning_db=draw(each(st.none() | reading)),
        share_of_ultimate=draw(st.none() | reading),
        loadings=draw(each(st.none() | st.just(coil_loading(Reading(264.0, 2.5), Reading(191.0, 1.5))))),
    )


judgements = st.builds(
    Judged,
    text,
    st.floats(allow_nan=False),
    text,
    st.none() | finite,
    text,
    st.sampled_from(Verdict),
)
times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))  # noqa: DTZ001
calibrations = st.builds(
    Calibration, text, text, times, st.none() | times, st.none() | finite, st.sampled_from(Verdict), text
)
records = st.builds(
    CoilRecord,
    text,
    text,
    text,
    times,
    finite,
    text,
    finite,
    finite,
    st.none() | calibrations,
    st.lists(nuclei(), max_size=2).map(tuple),
    st.lists(judgements, max_size=2).map(tuple),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records)
def test_a_record_comes_back_from_json_bit_for_bit(record: CoilRecord) -> None:
    assert read_record(record_text(record)) == record


def small_record(run: str = "a", **changes: object) -> CoilRecord:
    """Return a record of two channels at one nucleus."""
    s = np.array([[0.05, 0.2j], [0.21j, -0.02]])
    nucleus = NucleusRecord(
        "23Na",
        33.78e6,
        (1, 2),
        scattering=as_matrix(s),
        isolation=(0.1, 0.03),
        detuning_db=(Reading(30.0, 1.0), Reading(33.0, 1.0)),
    )
    record = CoilRecord(
        "SN-1",
        run,
        "sweep",
        WHEN,
        3.0,
        "ball",
        293.15,
        0.005,
        None,
        (nucleus,),
        (judge("x", 1.0, "", at_most=2),),
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def test_what_was_not_measured_stays_not_measured() -> None:
    array = np.array([[0.1, np.nan], [0.2j, 0.3]], dtype=np.complex128)
    rows = as_matrix(array)
    assert rows[0][1] is None
    assert np.isnan(as_array(rows)[0, 1])
    record = small_record()
    (nucleus,) = record.nuclei
    held = replace(record, nuclei=(replace(nucleus, scattering=rows),))
    assert read_record(record_text(held)) == held
    assert json.loads(record_text(held))["nuclei"][0]["scattering"][0] == [[0.1, 0.0], None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tree: tree.update(schema=2), "layout 1"),
        (lambda tree: tree.update(extra=1), "'extra'"),
        (lambda tree: tree.update(field="3 T"), "record.field: expected a number"),
        (lambda tree: tree.update(field=True), "record.field"),
        (lambda tree: tree.update(measured="yesterday"), "isoformat"),
        (lambda tree: tree.update(measured="2026-11-22T09:30:00+01:00"), "UTC"),
        (lambda tree: tree.update(nuclei={}), "record.nuclei: expected a list"),
        (lambda tree: tree.pop("serial_number"), "serial_number"),
        (lambda tree: tree["nuclei"][0]["ports"].pop(), "one each"),
        (lambda tree: tree["nuclei"][0]["scattering"][0].pop(), "square"),
        (lambda tree: tree["nuclei"][0]["scattering"][1].__setitem__(0, [1]), r"scattering\[1\]\[0\]"),
        (lambda tree: tree["judged"][0].update(verdict="maybe"), "maybe"),
        (lambda tree: tree["nuclei"][0]["detuning_db"][0].update(uncertainty=-1.0), "uncertainty"),
    ],
)
def test_damage_is_told_with_its_place(change: object, said: str) -> None:
    tree = json.loads(record_text(small_record()))
    change(tree)  # type: ignore[operator]
    with pytest.raises(MeasurementError, match=said):
        read_record(json.dumps(tree))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_cut_or_flipped_text_is_a_record_or_a_measurement_error(data: st.DataObject) -> None:
    whole = record_text(small_record())
    at = data.draw(st.integers(0, len(whole) - 1))
    letter = data.draw(st.sampled_from('0]}",-eN\\'))
    for broken in (whole[:at], whole[:at] + letter + whole[at + 1 :]):
        try:
            assert isinstance(read_record(broken), CoilRecord)
        except MeasurementError:
            continue


@pytest.mark.parametrize("hostile", ["[" * 100_000, "NaN", "null", '{"schema": 1, "field": NaN}', "1" * 40])
def test_hostile_json_is_refused(hostile: str) -> None:
    with pytest.raises(MeasurementError):
        read_record(hostile)


def test_times_are_utc_and_nothing_else() -> None:
    with pytest.raises(ValueError, match="UTC"):
        small_record(measured=WHEN.astimezone(timezone(timedelta(hours=2))))
    with pytest.raises(ValueError, match="UTC"):
        small_record(measured=WHEN.replace(tzinfo=None))


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
def test_an_invalid_calibration_leaves_no_verdict(verdict: Verdict) -> None:
    expired = Calibration("morning", "SOLT", WHEN, WHEN, 295.0, verdict, "expired")
    failing = (judge("x", 3.0, "", at_most=2),)
    assert small_record().verdict is Verdict.PASS
    assert small_record(calibration=expired).verdict is Verdict.INCONCLUSIVE
    assert small_record(calibration=expired, judged=failing).verdict is Verdict.INCONCLUSIVE
    assert small_record(judged=failing).verdict is Verdict.FAIL


def test_headlines_are_the_worst_of_each_kind() -> None:
    """|S| 0.05, 0.21 and 0.1 are -26.02, -13.56 and -20.00 dB; 0.05 + 0.005 is 0.83 dB more."""
    found = {entry.name: entry.reading for entry in headline_numbers(small_record().nuclei[0], 0.005)}
    assert found["worst reflection"].value == pytest.approx(-26.0206, abs=1e-3)
    assert found["worst reflection"].uncertainty == pytest.approx(0.8279, abs=1e-3)
    assert found["largest coupling"].value == pytest.approx(-13.5556, abs=1e-3)
    assert found["worst isolation"].value == pytest.approx(-20.0)
    assert found["smallest detuning"] == Reading(30.0, 1.0)


def scattered(rng: np.random.Generator, run: str, *, shift: float = 0.0) -> CoilRecord:
    """Return a record whose numbers scatter about one truth as much as they say."""
    count, deviation = 6, 0.0025
    size = np.abs(np.full((count, count), 0.2) + deviation * rng.standard_normal((count, count)))
    size = np.triu(size) + np.triu(size, 1).T
    depths = 30.0 + 0.5 * rng.standard_normal(count)
    depths[2] -= shift
    nucleus = NucleusRecord(
        "23Na",
        33.78e6,
        tuple(range(1, count + 1)),
        scattering=as_matrix(size.astype(np.complex128)),
        detuning_db=tuple(Reading(float(depth), 1.0) for depth in depths),
    )
    return small_record(run, nuclei=(nucleus,), s_uncertainty=2 * deviation)


def compared(seed: int, shift: float) -> Comparison:
    rng = np.random.default_rng(seed)
    return compare_records(scattered(rng, "a"), scattered(rng, "b", shift=shift))


def test_an_unchanged_coil_shows_a_change_in_at_most_one_of_twenty_comparisons() -> None:
    """27 numbers in 600 pairs of runs: 5 % ± 2.7 % (3 sigma of a binomial count)."""
    alarms = sum(bool(compared(seed, 0.0).significant) for seed in range(600))
    assert len(compared(0, 0.0).changes) == 27
    assert 0.023 < alarms / 600 < 0.077


def test_a_detuning_circuit_that_fails_is_named_first() -> None:
    """5 dB of 0.7 dB are 7 standard deviations; 3.1 are needed for one of 27."""
    for seed in range(20):
        found = compared(seed, 5.0)
        assert found.threshold == pytest.approx(3.11, abs=0.01)
        assert found.significant[0].name == "23Na detuning ch 3"
        assert found.significant[0].difference < 0.0
        assert found.significant[0].uncertainty == pytest.approx(math.sqrt(2.0))


def test_two_coils_are_not_compared_and_missing_numbers_are_listed() -> None:
    with pytest.raises(ValueError, match="SN-2"):
        compare_records(small_record(), small_record(serial_number="SN-2"))
    (nucleus,) = small_record().nuclei
    less = small_record("b", nuclei=(replace(nucleus, detuning_db=None),))
    assert compare_records(small_record(), less).missing == ("23Na detuning ch 1", "23Na detuning ch 2")
