"""The simulated bench: its bench file, and its instruments in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from coilbench.base.errors import ConnectionFailed
from coilbench.base.nuclei import nucleus
from coilbench.simulated_drawing import drawn_values
from hil_fixtures.physics.phantom import DEFAULT_PHANTOM
from hil_fixtures.physics.settings import WorldSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hil_fixtures.physics.phantom import Compartment

#: Where ``coilbench sim`` serves its instruments when nothing else is asked for.
DEFAULT_ADDRESSES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "analyzer_hislip": "TCPIP::127.0.0.1::hislip0,4880::INSTR",
        "analyzer_tcp": "tcp://127.0.0.1:5025",
        "tuner": "socket://127.0.0.1:5030",
        "tuner_tcp": "tcp://127.0.0.1:5030",
        "scanner": "tcp://127.0.0.1:5040",
        "receivers": [f"tcp://127.0.0.1:{11111 + board}" for board in range(4)],
    }
)


def bench_file_text(addresses: Mapping[str, Any], /) -> str:
    """Return a commented bench file for the simulated bench at ``addresses``.

    Parameters
    ----------
    addresses
        By the names of DEFAULT_ADDRESSES; the simulated bench prints them when it is ready.
    """
    templates = Environment(
        loader=PackageLoader("coilbench", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - TOML, not HTML; every value is our own
    )
    settings = WorldSettings()
    low, high = settings.low_nucleus, settings.high_nucleus
    frequencies = tuple(nucleus(name).larmor_frequency(settings.b0) for name in (low, high))
    values, trimmers = drawn_values(settings, (frequencies[0], frequencies[1]))
    materials = {_material(vial): vial for vial in (DEFAULT_PHANTOM.background, *DEFAULT_PHANTOM.vials)}
    return templates.get_template("bench.toml.j2").render(
        at=addresses,
        phantom=DEFAULT_PHANTOM,
        materials=materials,
        material=_material,
        world=settings,
        drawing=values,
        resistances={low: values.loop_resistance[0], high: values.loop_resistance[1]},
        trimmers={low: trimmers[:2], high: trimmers[2:]},
    )


def _material(sample: Compartment) -> str:
    """Return the name of what a compartment is filled with: saline, or the gel by its own name."""
    return "saline" if sample.short_fraction == 0.0 else sample.name


@contextmanager
def simulated_instruments(
    seed: int, *, tuned: bool = False, probes: bool = False
) -> Iterator[Mapping[str, Any]]:
    """Run every simulated instrument in one process of its own and yield their addresses.

    Parameters
    ----------
    seed
        Which array, load and noise.
    tuned
        Start with the array tuned and matched.
    probes
        With two probes, and cables that can be moved.

    Raises
    ------
    ConnectionFailed
        The process ended before it was ready; its words are in the text.
    """
    command = [sys.executable, "-m", "hil_fixtures.instruments.lab", "--seed", str(seed)]
    command += [word for word, wanted in (("--tuned", tuned), ("--probes", probes)) if wanted]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise ConnectionFailed(
                    "simulated bench",
                    f"ended with exit code {process.wait()} before it was ready; see its words above",
                )
            yield json.loads(line)
        finally:
            process.terminate()


def serve(seed: int, *, tuned: bool, probes: bool = False) -> int:
    """Serve the simulated instruments at DEFAULT_ADDRESSES until Ctrl-C and return the exit code."""
    command = [sys.executable, "-m", "hil_fixtures.instruments.lab", "--seed", str(seed), "--default-ports"]
    command += [word for word, wanted in (("--tuned", tuned), ("--probes", probes)) if wanted]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            return 0
