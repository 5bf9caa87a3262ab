"""The plan of pairwise sweeps as it is told to hands."""

from __future__ import annotations

import re

import pytest

from coilbench.pairwise import describe_plan
from coils.assembly import plan_connections


@pytest.mark.parametrize(("count", "both", "cables"), [(5, False, 2), (4, True, 2), (7, False, 4)])
def test_the_plan_in_words_names_every_connection(count: int, both: bool, cables: int) -> None:
    """Followed word by word, cables stand where the plan wants them, connection after connection."""
    ports = range(3, 3 + count)
    plan = plan_connections(ports, cables, both_directions=both)
    head, *lines = describe_plan(plan)
    assert head.startswith(
        f"{len(plan.connections)} connections of {cables} cables; {plan.cable_moves} times"
    )
    here: dict[int, int] = {}
    followed: list[tuple[int, ...]] = []
    for line in lines:
        goes: dict[int, list[int]] = {}
        for cable, places in re.findall(r"cable (\d+) to ([\d, ]+)", line):
            goes[int(cable)] = [int(place) for place in places.split(", ")]
        for cable, place in re.findall(r"cable (\d+) stays on (\d+)", line):
            assert here[int(cable)] == int(place)
        for step in range(max(map(len, goes.values()))):
            here.update({cable: places[step] for cable, places in goes.items()})
            followed.append(tuple(here[cable] for cable in range(1, cables + 1)))
    assert followed == [connection.ports for connection in plan.connections]
