"""One reconstruction in a process of its own, so that its peak memory is its own.

Reads a task, then runs it once for every line on its input and answers with one JSON object a line: seconds,
seconds of processor time, peak memory in MB, error against the exact sum.
``python trial.py FOLDER TASK PROGRAM`` with TASK ``adjoint``, ``forward`` or ``cg``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

THREADS = 2
for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "DUCC0_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = str(THREADS)
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import numpy as np  # noqa: E402 - threads are counted at import
from programs import PROGRAMS  # noqa: E402
from scan import read_scan  # noqa: E402


def peak_memory() -> float:
    """Return the largest memory this process and its children held, in MB; NaN where the system hides it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    own = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    import resource

    return max(int(own.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def processor_time() -> float:
    """Return the processor time of this process and its children in s."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def error(result: np.ndarray, folder: Path, task: str, program: str) -> float:
    """Return the relative error against the exact sum; a peer's own constant factor is divided out."""
    if task == "cg":
        np.save(folder / f"image_{program}.npy", result)
        return float("nan")
    with np.load(folder / "truth.npz") as truth:
        chosen = result[0].ravel()[truth["voxels" if task == "adjoint" else "points"]]
        exact = truth[task]
    factor = 1.0 if program.startswith("ours") else np.vdot(chosen, exact) / np.vdot(chosen, chosen)
    return float(np.linalg.norm(factor * chosen - exact) / np.linalg.norm(exact))


def main() -> None:
    """Prepare, then run on demand."""
    folder, task, program = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    scan = read_scan(folder)
    run = PROGRAMS[task][program](scan, folder)
    print("ready", flush=True)
    for _ in sys.stdin:
        start, used = time.perf_counter(), processor_time()
        result = run()
        report = {"seconds": time.perf_counter() - start, "processor": processor_time() - used}
        report |= {"memory": peak_memory(), "error": error(result, folder, task, program)}
        del result
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
