"""Quantities leave as CSV, JSON and QuAAC: complete, without NaN, harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import UTC, datetime

import pytest
import quaac

from coilbench.base.errors import BenchFileError, MeasurementError
from coilbench.base.verdict import Verdict, judge
from coilbench.export.quaac import QuaacSource, quaac_json
from coilbench.export.tables import quantities_csv, quantities_json
from coilbench.quantities import Quantity, quantities_of_judged, quantities_of_record

MEASURED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
QUANTITIES = (
    Quantity(
        "sodium",
        45.5,
        "mmol/L",
        1.1,
        2.0,
        Verdict.PASS,
        "≤ 6 mmol/L",
        "saline A",
        "regression through reference vials",
        "2",
    ),
    Quantity("background deviation", None, "", None, algorithm="corner", version="1"),
    Quantity('=cmd|"/c calc"!A1', -3.25, "dB", place="@sum(1)", algorithm="a, b", version="1"),
)


def refuse(word: str) -> float:
    pytest.fail(f"{word} is no JSON")


def test_json_is_strict_and_keeps_every_field() -> None:
    found = json.loads(quantities_json(QUANTITIES, {"run": "r", "coil": "c"}), parse_constant=refuse)
    assert (found["run"], found["schema"]) == ("r", 1)
    again = quantities_of_record(found)
    assert again == QUANTITIES


def test_csv_reads_back_and_runs_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(quantities_csv(QUANTITIES, {"run": "=1+1"}))))
    assert [row["value"] for row in rows] == ["45.5", "", "-3.25"]
    assert rows[0]["uncertainty"] == "1.1"
    assert rows[0]["verdict"] == "pass"
    assert rows[2]["name"] == "'" + QUANTITIES[2].name
    assert rows[2]["place"] == "'@sum(1)"
    assert {row["run"] for row in rows} == {"'=1+1"}
    assert float(rows[2]["value"]) == -3.25  # numbers stay numbers


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused_at_once(number: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        Quantity("x", number)
    with pytest.raises(ValueError, match="not finite"):
        Quantity("x", 1.0, uncertainty=abs(number))


def test_judged_quantities_keep_value_place_and_half_their_expanded_uncertainty() -> None:
    judged = (
        judge("worst reflection (port 12-4)", -22.0, "dB", uncertainty=1.0, at_most=-20.0),
        judge("PIU", math.nan, "%", at_least=80.0),
    )
    first, second = quantities_of_judged(judged, algorithm="judge", version="1")
    assert (first.name, first.place, first.value, first.uncertainty) == (
        "worst reflection",
        "port 12-4",
        -22.0,
        0.5,
    )
    assert second.value is None
    assert second.verdict is Verdict.FAIL


def test_quaac_reads_the_document_and_finds_the_hash_of_every_point() -> None:
    """The hashes are compared here: quaac 1.0 doubts every document of two points on one equipment."""
    text = quaac_json(QUANTITIES, QuaacSource("run 1", MEASURED, "NA-8", "ball"))
    document = quaac.Document.model_validate_json(text, context={"check_hash": False})
    written = [point["hash"] for point in json.loads(text)["datapoints"]]
    assert [point.hash for point in document.datapoints] == written
    assert [point.measurement_value for point in document.datapoints] == [45.5, -3.25]
    first = document.datapoints[0]
    assert first.name == "sodium (saline A)"
    assert first.perform_datetime == MEASURED
    assert first.primary_equipment.serial_number == "NA-8"
    assert first.ancillary_equipment[0].name == "ball"
    assert first.parameters["standard uncertainty"] == 1.1
    assert json.loads(text)["not measured"] == ["background deviation"]
    assert "NaN" not in text


@pytest.mark.parametrize("performer", ["nobody", "Ann <ann>", "Ann <ann@bench.invalid>", "<a@b.org>"])
def test_quaac_wants_a_performer_with_an_address(performer: str) -> None:
    with pytest.raises(BenchFileError, match="name with a mail address"):
        quaac_json(QUANTITIES, QuaacSource("r", MEASURED, "c", performer=performer))


@pytest.mark.parametrize(
    "listed",
    [
        None,
        [],
        [{"name": "x"}],
        [{"name": "x", "value": 1.0, "what": 2}],
        [{"name": "x", "value": 1.0, "verdict": "maybe"}],
    ],
)
def test_a_record_without_readable_quantities_says_so(listed: object) -> None:
    with pytest.raises(MeasurementError, match="quantit"):
        quantities_of_record({"run": "r", "quantities": listed})
