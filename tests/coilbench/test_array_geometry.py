"""Loops as a bench file says they lie, and how far neighbours can be moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from coilbench.array_geometry import loops_of, with_travels
from coilbench.bench_file import BenchFile, read_bench_file
from coilbench.simulated_bench import DEFAULT_ADDRESSES, bench_file_text
from coils.decoupling.remedies import Neighbours, Relation

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> BenchFile:
    path = tmp_path / "bench.toml"
    path.write_text(bench_file_text(DEFAULT_ADDRESSES), encoding="utf-8")
    return read_bench_file(path)


def test_neighbours_decouple_on_their_way_and_a_ring_closes(file: BenchFile) -> None:
    """Overlapped loops couple less when moved apart; channels 1 and 8 are neighbours like 1 and 2."""
    one, closing = with_travels(
        file, (Relation((1, 2), Neighbours.OVERLAP), Relation((1, 8), Neighbours.OVERLAP))
    )
    assert one.travel is not None
    assert closing.travel is not None
    assert np.all(np.diff(one.travel.k) < 0.0)
    assert one.travel.k[0] > 0.0 > one.travel.k[-1]
    assert closing.travel.k == pytest.approx(one.travel.k, abs=1e-9)
    assert one.inductance is not None
    assert one.inductance[0] == pytest.approx(one.inductance[1])


def test_what_cannot_be_moved_or_is_not_drawn_keeps_its_relation(file: BenchFile) -> None:
    sharing = Relation((1, 2), Neighbours.SHARED)
    beyond = Relation((1, 9), Neighbours.OVERLAP)
    assert with_travels(file, (sharing, beyond)) == (sharing, beyond)
    undrawn = file.model_copy(update={"array": file.array.model_copy(update={"geometry": None})})
    overlapped = Relation((1, 2), Neighbours.OVERLAP)
    assert loops_of(undrawn) is None
    assert with_travels(undrawn, (overlapped,)) == (overlapped,)
