"""``coilbench tune --manual``: guided tuning from the command line, and what it refuses."""

from __future__ import annotations

import io
import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from coilbench.base.errors import RunAborted
from coilbench.base.events import ignore
from coilbench.commands.options import OnBench
from coilbench.procedures.manual_plan import Reply
from coilbench.terminal_tuning import PersonAtTrimmers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from conftest import Failure, SmallBench


def test_hands_at_the_simulated_bench_tune_what_was_turned_away(
    bench: SmallBench, run_here: Callable[..., Failure], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trimmers 8 % off are found, turned by a clumsy hand over TCP, and logged; the record passes."""
    world = bench.lab.world
    before = {name: world.axis_position(name) for name in ("ch2.na.tune", "ch5.h.match")}
    for name, steps in zip(before, (420, -380), strict=True):
        world.move_axis(name, before[name] + steps)
    address = bench.lab.addresses["operator"]
    monkeypatch.setattr("coilbench.commands.array.on_bench", _at(bench, address))
    done = run_here("tune", "--manual", bench.path, "--simulated", "--runs", bench.runs, "--json")
    assert done.code == 0, done.text
    found = json.loads(done.out)
    assert found["kind"] == "tune"
    assert found["tuning_by_hand"]["reached"]
    assert 2 <= found["tuning_by_hand"]["turns"] <= 40
    events = (bench.runs / found["run"] / "events.jsonl").read_text(encoding="utf-8").splitlines()
    turned = [json.loads(line) for line in events if '"hand.turned"' in line]
    assert {"ch2.na.tune", "ch5.h.match"} <= {event["data"]["axis"] for event in turned}
    own = np.diagonal(world.scattering(np.array(world.frequencies)), axis1=1, axis2=2)
    assert np.abs(np.concatenate((own[0, :8], own[1, 8:]))).max() < 0.1


def _at(bench: SmallBench, address: str) -> Callable[..., AbstractContextManager[OnBench]]:
    @contextmanager
    def there(*_arguments: object, **_options: object) -> Iterator[OnBench]:
        yield OnBench(bench.path, address)

    return there


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--clockwise", "left"), "--clockwise is more or less"),
        (("--turns", "na.tune"), "--turns takes a kind of trimmer and its turns"),
        (("--turns", "na.tune=-3"), "--turns takes a kind of trimmer and its turns"),
        (("--check-motors",), "--manual needs no motors"),
        (("--json",), "leave out --json"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: tuple[str, ...], says: str, run_here: Callable[..., Failure]
) -> None:
    done = run_here("tune", "--manual", *words)
    assert done.code == 3
    assert says in done.text


def test_a_person_answers_with_enter_u_s_and_e(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else is asked again; the end of the input ends the run."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("\nu\nwhat?\nS\ne\n"))
    shown = io.StringIO()
    with PersonAtTrimmers(Console(file=shown, width=100), ignore) as person:
        assert [person.ask(f"Turn {number}.") for number in range(4)] == [
            Reply.READY,
            Reply.UNDO,
            Reply.SKIP,
            Reply.END,
        ]
        with pytest.raises(RunAborted, match="nobody answered: Turn 9"):
            person.ask("Turn 9.")
    assert shown.getvalue().count("▸ Turn 2.") == 2
