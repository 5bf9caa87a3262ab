"""Replace ports of a solved or measured network by what is really connected to them.

All matrices are referred to one impedance. Ports count from 1, as analyzers label them. Exact at any
mismatch: the waves are eliminated, not approximated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from coils.circuit.elements import Complex

    Indices: TypeAlias = NDArray[np.intp]


def terminate(s: Complex, reflections: Mapping[int, complex | Complex]) -> Complex:
    """Return the S-matrix of the ports that are left when the others are terminated.

    Parameters
    ----------
    s
        Shape (frequency, port, port).
    reflections
        By port: reflection coefficient of what is connected there, scalar or shape (frequency,).

    Returns
    -------
    Shape (frequency, rest, rest), the ports left in their order.

    Raises
    ------
    ValueError
        There is no such port.
    """
    gone = tuple(reflections)
    load = np.zeros((len(s), len(gone), len(gone)), dtype=np.complex128)
    for number, port in enumerate(gone):
        load[:, number, number] = reflections[port]
    return connect(s, load, tuple((port, number + 1) for number, port in enumerate(gone)))


def connect(s: Complex, other: Complex, pairs: Sequence[tuple[int, int]]) -> Complex:
    """Return the S-matrix of two networks joined port to port.

    Parameters
    ----------
    s
        Shape (frequency, port, port).
    other
        Of the other network (measured data), shape (frequency or 1, port, port), same reference impedance.
    pairs
        Which port of ``s`` meets which port of ``other``.

    Returns
    -------
    Shape (frequency, rest, rest): the ports left of ``s``, then those of ``other``.

    Raises
    ------
    ValueError
        A port does not exist or is connected twice.

    Notes
    -----
    Filipsson, Proc. 11th European Microwave Conf. 700 (1981).
    """
    mine = _indices([pair[0] for pair in pairs], s.shape[-1])
    theirs = _indices([pair[1] for pair in pairs], other.shape[-1])
    own: Indices = np.setdiff1d(np.arange(s.shape[-1], dtype=np.intp), mine)
    new: Indices = np.setdiff1d(np.arange(other.shape[-1], dtype=np.intp), theirs)
    s_cc, t_cc = _block(s, mine, mine), _block(other, theirs, theirs)
    into = np.concatenate(
        (
            t_cc @ _block(s, mine, own),
            np.broadcast_to(_block(other, theirs, new), (len(s), len(mine), new.size)),
        ),
        axis=-1,
    )
    # waves into s and out of it where they meet, for waves into the ports left
    waves = np.asarray(np.linalg.solve(np.eye(len(mine)) - t_cc @ s_cc, into), dtype=np.complex128)
    from_s = _block(s, own, mine) @ waves
    leaving: Complex = s_cc @ waves
    leaving[..., : own.size] += _block(s, mine, own)
    from_other = _block(other, new, theirs) @ leaving
    joined: Complex = np.concatenate((from_s, from_other), axis=-2)
    joined[:, : own.size, : own.size] += _block(s, own, own)
    joined[:, own.size :, own.size :] += _block(other, new, new)
    return joined


def _block(matrix: Complex, rows: Indices, columns: Indices) -> Complex:
    return np.asarray(matrix[:, rows[:, None], columns[None, :]], dtype=np.complex128)


def _indices(ports: Sequence[int], count: int) -> Indices:
    wrong = [port for port in ports if not 1 <= port <= count]
    if wrong:
        raise ValueError(f"no port {wrong}: the network has ports 1 to {count}")
    if len(set(ports)) < len(ports):
        raise ValueError(f"a port can be connected once only; got {list(ports)}")
    return np.asarray(ports, dtype=np.intp) - 1
