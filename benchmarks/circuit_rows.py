"""Rows of coupled arrays: ours beside scikit-rf and CoSimPy, derivatives beside S alone, and memory.

The array has 8 loops with a full inductance and sample matrix, a trap and two ports each: 16 ports. The
peers get every part's S-parameters ready; building their circuits from them is timed, as working out our
elements is.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from table import Row, compare, seconds

from coils.circuit.array import Z0, Arm, ArrayCircuit, Bank, Section, Stage, solve
from coils.circuit.elements import Capacitor, Inductor, Resistor, parallel, series
from coils.circuit.sensitivities import by_delay, by_loop_impedance, element_sensitivities

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coils.circuit.array import Solution
    from coils.circuit.elements import Branch

#: s and MB: what must not be exceeded, where no other program does the same.
DERIVATIVES_LIMIT: Final = 1e-3
MEMORY_LIMIT: Final = 1000.0
#: S with all derivatives over S alone.
DERIVATIVES_RATIO: Final = 25.0


def band(points: int) -> np.ndarray:
    """Return both nuclei's bands at 3 T in Hz, half of the points each."""
    return np.concatenate(
        (np.linspace(27e6, 43e6, points // 2), np.linspace(100e6, 160e6, points - points // 2))
    )


def array(channels: int = 8) -> ArrayCircuit:
    """Return trap loops, all values different: loop resistance, trimmers with leads, sockets, traps."""
    rng = np.random.default_rng(7)

    def spread(value: float) -> np.ndarray:
        return value * rng.uniform(0.95, 1.05, channels)

    def trimmer(name: str, value: float) -> Branch:
        return series(Capacitor(name, spread(value), 900.0), Inductor(f"{name}.lead", spread(2e-9)))

    def arm(first: int, name: str, value: float) -> Arm:
        socket = Stage("shunt", Capacitor(f"{name}.socket", spread(1e-12)))
        return Arm(np.arange(first, first + channels), (socket, Stage("series", trimmer(name, value))))

    trap = series(Inductor("Lt", spread(120e-9), 40.0, 0.5), Capacitor("C1", spread(70e-12), 900.0))
    sections = (
        Section(series(Inductor("loop", spread(10e-9)), Resistor("copper", spread(0.03), 0.5))),
        Section(trimmer("CtNa", 155e-12), arm(0, "CmNa", 24e-12)),
        Section(parallel(trap, trimmer("CtH", 19e-12)), arm(channels, "CmH", 3.2e-12)),
    )
    return ArrayCircuit((Bank(np.arange(channels), sections),), np.full(2 * channels, 40e-12))


def loop_matrix(frequencies: np.ndarray, channels: int = 8) -> np.ndarray:
    """Return the loops' impedance: 300 nH, couplings to 3 %, one sample in all of them."""
    distance = np.abs(np.arange(channels)[:, None] - np.arange(channels))
    inductance = 300e-9 * np.where(distance == 0, 1.0, -0.03 * 0.5**distance)
    mega = frequencies[:, None, None] / 1e6
    return 2j * np.pi * 1e6 * mega * inductance + 1.1e-4 * 0.5**distance * mega**2


def circuit_skrf() -> Row:
    """Solve 16 ports at 802 frequencies: ours beside scikit-rf's Circuit with auto_reduce."""
    import skrf
    from skrf.circuit import Circuit

    frequencies = band(802)
    circuit, loops = array(), loop_matrix(frequencies)
    grid = skrf.Frequency.from_f(frequencies, unit="Hz")
    bare, chains = _for_peers(circuit, frequencies, loops)
    networks = {
        name: skrf.Network(frequency=grid, s=s, z0=Z0, name=name)
        for name, s in (("array", bare), *chains.items())
    }
    ports = [Circuit.Port(grid, f"port{port:02d}", z0=Z0) for port in range(16)]

    def peer() -> np.ndarray:
        connections = []
        for port in range(16):
            chain = [networks[f"{kind}{port}"] for kind in ("section", "match", "socket", "line")]
            connections.append([(networks["array"], port), (chain[0], 0)])
            connections += [[(one, 1), (two, 0)] for one, two in pairwise(chain)]
            connections.append([(chain[-1], 1), (ports[port], 0)])
        return np.asarray(Circuit(connections, auto_reduce=True).s_external)

    def ours() -> np.ndarray:
        return solve(circuit, frequencies, loops).s

    _agree(ours(), peer())
    size = "8 channels, 16 ports, 802 frequencies, build and solve; at least 25"
    return compare("circuit_skrf", size, ours, peer, "scikit-rf Circuit(auto_reduce=True)")


def circuit_cosimpy() -> Row:
    """Solve 16 ports at 802 frequencies: ours beside CoSimPy's connection of two-ports to an array."""
    from cosimpy import S_Matrix

    frequencies = band(802)
    circuit, loops = array(), loop_matrix(frequencies)
    bare, chains = _for_peers(circuit, frequencies, loops)
    parts = {name: S_Matrix(s, frequencies) for name, s in chains.items()}

    def chained(port: int) -> S_Matrix:
        total = parts[f"section{port}"]
        for kind in ("match", "socket", "line"):
            (total,) = total._singlePortConnSMatrix([None, parts[f"{kind}{port}"]])  # noqa: SLF001 - no coil
        return total

    def peer() -> np.ndarray:
        networks = [chained(port) for port in range(16)]
        (connected,) = S_Matrix(bare, frequencies)._singlePortConnSMatrix(networks)  # noqa: SLF001
        return np.asarray(connected.S)

    def ours() -> np.ndarray:
        return solve(circuit, frequencies, loops).s

    _agree(ours(), peer())
    size = "8 channels, 16 ports, 802 frequencies, build and solve; at least 80"
    return compare("circuit_cosimpy", size, ours, peer, "CoSimPy S_Matrix, single port connections")


def circuit_two_frequencies() -> Row:
    """Solve both Larmor frequencies with every derivative; the peer is the limit of 1 ms."""
    frequencies = np.array([33.8e6, 127.7e6])
    circuit, loops = array(), loop_matrix(frequencies)

    def ours() -> int:
        return derivatives(solve(circuit, frequencies, loops))

    mine = seconds(ours, 41)
    size = f"8 channels, 16 ports, 2 frequencies, S and {ours()} derivatives of all reflections"
    limit = DERIVATIVES_LIMIT
    return Row("circuit_two_frequencies", mine, limit, "s", limit / mine, size, "limit", _command("two"))


def circuit_derivatives() -> Row:
    """Solve 802 frequencies with every derivative; the peer is 25 times S alone."""
    frequencies = band(802)
    circuit, loops = array(), loop_matrix(frequencies)

    def alone() -> np.ndarray:
        return solve(circuit, frequencies, loops).s

    def ours() -> int:
        return derivatives(solve(circuit, frequencies, loops))

    mine, limit = seconds(ours), DERIVATIVES_RATIO * seconds(alone, 15)
    size = f"8 channels, 16 ports, 802 frequencies, S and {ours()} derivatives of all reflections"
    return Row("circuit_derivatives", mine, limit, "s", limit / mine, size, "25 x S alone", _command("deriv"))


def circuit_memory() -> Row:
    """Solve 32 channels at 801 frequencies in 100 states, kept: peak memory beside the limit of 1 GB."""
    code = "from circuit_rows import many_states; print(many_states())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=__file__.rpartition("/")[0],
        capture_output=True,
        text=True,
        check=True,
    )
    mine = float(done.stdout)
    size = "32 channels, 801 frequencies, 100 states of the trimmers, all reflections kept"
    return Row(
        "circuit_memory", mine, MEMORY_LIMIT, "MB", MEMORY_LIMIT / mine, size, "limit", _command("memory")
    )


def derivatives(solution: Solution) -> int:
    """Work out the derivatives of all reflections by all elements, couplings and lines; return how many."""
    channels = solution.inverse.shape[-1]
    row, column = np.triu_indices(channels, 1)
    count = sum(each.reflections().shape[-1] for each in element_sensitivities(solution))
    return count + by_loop_impedance(solution, row, column).shape[-1] + by_delay(solution).shape[-1]


def many_states() -> float:
    """Return the peak memory in MB of a process that solves 100 states of 32 channels."""
    import resource

    frequencies = band(801)
    circuit, loops = array(32), loop_matrix(frequencies, 32)
    rng = np.random.default_rng(3)
    kept = np.empty((100, 801, 64), dtype=np.complex128)
    names = ("CtNa", "CmNa", "CtH", "CmH")
    values = {element.name: element.value for element in circuit.banks[0].elements()}
    for state in kept:
        moved = {name: values[name] * rng.uniform(0.9, 1.1, 32) for name in names}
        state[:] = np.einsum("fii->fi", solve(circuit.with_values([moved]), frequencies, loops).s)
    # kilobytes on Linux, getrusage(2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _for_peers(
    circuit: ArrayCircuit, frequencies: np.ndarray, loops: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return S of the bare loops, two ports each, and of the two-ports that lead to every port."""
    channels = loops.shape[-1]
    ring, *tapped = solve(circuit, frequencies, loops).states[0]
    total = loops + np.eye(channels) * ring.across.impedance[:, None]
    y = Z0 * np.kron(np.ones((2, 2)), np.linalg.inv(total))
    unit = np.eye(2 * channels)
    bare = np.linalg.solve(unit + y, unit - y)
    turn = np.exp(-2j * np.pi * frequencies[:, None] * circuit.delays)
    chains = {}
    for kind, state in enumerate(tapped):
        socket, match = state.stages
        for channel in range(channels):
            port = kind * channels + channel
            chains[f"section{port}"] = _shunt(state.across.impedance[:, channel])
            chains[f"match{port}"] = _series(match.impedance[:, channel])
            chains[f"socket{port}"] = _shunt(socket.impedance[:, channel])
            chains[f"line{port}"] = turn[:, port, None, None] * np.array([[0.0, 1.0], [1.0, 0.0]])
    return bare, chains


def _series(z: np.ndarray) -> np.ndarray:
    through = 2 * Z0 / (z + 2 * Z0)
    return np.moveaxis(np.array([[1 - through, through], [through, 1 - through]]), -1, 0)


def _shunt(z: np.ndarray) -> np.ndarray:
    through = 2 * z / (2 * z + Z0)
    return np.moveaxis(np.array([[through - 1, through], [through, through - 1]]), -1, 0)


def _agree(mine: np.ndarray, theirs: np.ndarray) -> None:
    difference = float(np.max(np.abs(mine - theirs)))
    if difference > 1e-10:
        raise AssertionError(f"the programs differ by {difference:.2g}: their times say nothing")


def _command(word: str) -> str:
    return f"python bench.py bench circuit_{word}"


CIRCUIT_ROWS: Final[Mapping[str, Callable[[], Row]]] = MappingProxyType(
    {
        "circuit_skrf": circuit_skrf,
        "circuit_cosimpy": circuit_cosimpy,
        "circuit_two_frequencies": circuit_two_frequencies,
        "circuit_derivatives": circuit_derivatives,
        "circuit_memory": circuit_memory,
    }
)
