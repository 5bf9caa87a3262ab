"""An N-port from sweeps of a few ports: plan, assemble exactly, notice wrong cables, mark what is missing.

True here: the loads of the ports that were not connected may be anything known, a different complex
reflection at every port and frequency; assembly is then exact. Not here: leakage inside a switch.
"""

from coils.assembly.cables import Suspicion, relabelled, suspect_connections
from coils.assembly.partial import PartialSweep
from coils.assembly.plan import Connection, ConnectionPlan, plan_connections
from coils.assembly.stitch import Assembly, assemble
from coils.assembly.waves import from_terminated_waves, to_terminated_waves

__all__ = [
    "Assembly",
    "Connection",
    "ConnectionPlan",
    "PartialSweep",
    "Suspicion",
    "assemble",
    "from_terminated_waves",
    "plan_connections",
    "relabelled",
    "suspect_connections",
    "to_terminated_waves",
]
