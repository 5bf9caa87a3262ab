"""SNR of a run's phantom: by every method its data allow, of each receive channel, and of the ultimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coilbench.base.errors import MeasurementError
from coilbench.base.events import Event, EventSink, ignore
from coilbench.procedures.quantify import quantify_scan
from coilbench.stored_run import open_run, read_scan
from coilbench.ultimate_snr import share_or_reason

if TYPE_CHECKING:
    from pathlib import Path

    from coilbench.procedures.quantify import Quantified


def snr_of_run(folder: Path, on_event: EventSink = ignore, /) -> dict[str, Any]:
    """Return the SNR of a run's phantom as plain values; what cannot be measured is a note that says why.

    Parameters
    ----------
    folder
        Of a run that scanned, finished or not.

    Returns
    -------
    Of the bath's median: by the noise scan (``background_snr``), by pseudo-replicas and, where the scan was
    repeated, by the difference of two scans; ``channels``, a record for each receive channel; what
    ``UltimateShare`` states of the centre; ``notes``.

    Raises
    ------
    BenchFileError
        It is no run folder, or its bench file is wrong.
    """
    run = open_run(folder)
    try:
        scanned, remarks = read_scan(run, on_event)
        on_event(Event("step", "SNR of the phantom, its channels and its centre"))
        quantified = quantify_scan(run.file, scanned)
    except MeasurementError as error:
        return {"notes": f"SNR of the phantom not measured: {error}"}
    found = _background(quantified)
    share, reason = share_or_reason(run.file, scanned, quantified)
    if share is not None:
        found |= share.values()
    return {**found, "notes": "; ".join((*remarks, reason) if reason else remarks)}


def _background(quantified: Quantified) -> dict[str, Any]:
    stated = quantified.background_snr
    found: dict[str, Any] = {"background_snr": stated.value, "u_background_snr": stated.uncertainty}
    for ratio, name in (
        (quantified.pseudo_replica, "background_snr_by_pseudo_replicas"),
        (quantified.repeated_scans, "background_snr_by_difference"),
    ):
        if ratio is not None:
            snr = ratio.snr(stated)
            found |= {name: snr.value, f"u_{name}": snr.uncertainty}
    alone = ", ".join(f"{snr.value:.2f} ± {snr.uncertainty:.2f}" for snr in quantified.channel_snr)
    return {
        **found,
        "channel_snr": f"{alone} (± u), receive channels 1 to {len(quantified.channel_snr)}, not whitened",
        "channels": [snr.plain() for snr in quantified.channel_snr],
    }
