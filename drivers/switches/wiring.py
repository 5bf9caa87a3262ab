"""Ready-made wirings of R&S OSP units, to be written into a bench file and checked against the cables."""

from __future__ import annotations


def sixteen_to_two() -> tuple[dict[str, str], str]:
    """Return routes and parked state of a full-access matrix of 16 device ports to 2 analyzer ports.

    Every device port d has an SPDT relay: state 0 leads to side A, state 1 to side B. On each side two
    terminated SP8T relays (as in modules R&S OSP-B129) collect ports 1 to 8 and 9 to 16, and an SPDT relay
    leads one of them to the analyzer. A port that is not connected ends in the 50 Ω termination of its
    SP8T on side A.

    Returns
    -------
    Channel lists by ``"analyzer port-device port"``, and that of the parked state, for modules M01 to M03
    (six SPDT relays each: 1 to 16 for the ports, 17 and 18 for the sides) and M04 to M07 (one SP8T each:
    A low, A high, B low, B high).
    """
    routes: dict[str, str] = {}
    for side in (0, 1):
        for port in range(1, 17):
            half, throw = divmod(port - 1, 8)
            spdt = {port: side, 17 + side: half}
            modules: dict[int, list[str]] = {}
            for number, state in spdt.items():
                module, element = divmod(number - 1, 6)
                modules.setdefault(module + 1, []).append(f"{state:02d}{element + 1:02d}")
            modules[4 + 2 * side + half] = [f"{throw + 1:02d}01"]
            routes[f"{side + 1}-{port}"] = ",".join(
                f"F01M{module:02d}({','.join(parts)})" for module, parts in sorted(modules.items())
            )
    spdts = ",".join(f"F01M{module:02d}(0001,0002,0003,0004,0005,0006)" for module in (1, 2, 3))
    return routes, f"{spdts},F01M04(0001),F01M05(0001),F01M06(0001),F01M07(0001)"
