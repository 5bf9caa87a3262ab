"""The MRD header of a radial scan, and what can be recomputed from it.

Conventions, also written into the header: trajectories are dimensionless, k·fov/matrix in [-0.5, 0.5];
the signal is s(k) = ∫ρ(r) exp(-2πi k·r) dr; data are volts at the receivers' input. MRD version 1 has
no field for the nucleus: it and everything else that MRD lacks are user parameters.

Source: ISMRMRD version 1, schema ``ismrmrd.xsd``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from ismrmrd import xsd

from acquisition.trajectory import RadialDesign
from coilbench.base.nuclei import nucleus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from acquisition.demodulate import ReceiveFilter
    from acquisition.plan import RadialScanPlan
    from acquisition.sort import Readout
    from drivers.protocols import ReceiveSetting

#: Text of the user parameter ``trajectoryConvention``.
TRAJECTORY_CONVENTION: Final = "k*fov/matrix in [-0.5,0.5]; s(k)=integral rho(r) exp(-2 pi i k.r) dr"
#: Name of the trajectory description.
TRAJECTORY_NAME: Final = "density-adapted centre-out radial, golden means"


def scan_header(
    plan: RadialScanPlan,
    setting: ReceiveSetting,
    receive_filter: ReceiveFilter,
    readout: Readout,
    coil_labels: Sequence[str],
    /,
) -> xsd.ismrmrdHeader:
    """Return the MRD header of a scan as the receiver was really set.

    Parameters
    ----------
    plan, setting, receive_filter, readout
        The scan.
    coil_labels
        One per receive channel, in order.
    """
    doubles = {
        "centerFrequency_Hz": plan.larmor_frequency,
        "transmitFrequency_Hz": plan.transmit_frequency,
        "localOscillator_Hz": setting.plan.frequency,
        "sampleTime_us": receive_filter.output_interval * 1e6,
        "receiverNoiseBandwidth_Hz": receive_filter.noise_bandwidth,
        "relativeReceiverNoiseBandwidth": receive_filter.relative_noise_bandwidth,
        "firstSample_s": float(readout.times[0]),
        "gammaBar_Hz_T": plan.nucleus.gamma_bar,
    }
    return xsd.ismrmrdHeader(
        acquisitionSystemInformation=_system(plan, receive_filter, coil_labels),
        experimentalConditions=xsd.experimentalConditionsType(
            H1resonanceFrequency_Hz=round(nucleus("1H").larmor_frequency(plan.b0))
        ),
        encoding=[_encoding(plan)],
        sequenceParameters=xsd.sequenceParametersType(
            TR=[plan.repetition_time * 1e3],
            TE=[(plan.pulse_duration / 2.0 + plan.dead_time) * 1e3],
            flipAngle_deg=[float(np.rad2deg(plan.flip_angle))],
            sequence_type="3D radial UTE",
        ),
        userParameters=xsd.userParametersType(
            userParameterString=[
                xsd.userParameterStringType(name="nucleus", value=plan.nucleus.name),
                xsd.userParameterStringType(name="trajectoryConvention", value=TRAJECTORY_CONVENTION),
            ],
            userParameterDouble=_doubles(doubles),
        ),
    )


def recorded_spoke(header: xsd.ismrmrdHeader, samples: int, /) -> tuple[RadialDesign, NDArray[np.float64]]:
    """Return the design of the spokes and when they were sampled, from the header alone.

    Parameters
    ----------
    header
        As ``scan_header`` writes it.
    samples
        In each acquisition of the scan.

    Returns
    -------
    The design, and the times of the samples in s from the gradient's start, shape (sample,); after the
    centre of the RF pulse they are later by the header's echo time.

    Raises
    ------
    ValueError
        The header describes another trajectory.
    """
    description = header.encoding[0].trajectoryDescription
    if description is None or description.identifier != TRAJECTORY_NAME:
        raise ValueError(f"the header does not describe a {TRAJECTORY_NAME} trajectory")
    design = {item.name: float(item.value) for item in description.userParameterDouble}
    scan = _scan_parameters(header)
    spoke = RadialDesign(
        gamma_bar=scan["gammaBar_Hz_T"],
        kmax=design["kmax_1_m"],
        readout_duration=design["readoutDuration_s"],
        plateau=design["plateau_T_m"],
        k0=design["k0_1_m"],
        slew=design["slew_T_m_s"],
        raster=design["raster_s"],
    )
    interval = scan["sampleTime_us"] * 1e-6
    times = scan["firstSample_s"] - design["gradientStart_s"] + np.arange(samples) * interval
    return spoke, np.asarray(times, dtype=np.float64)


def _scan_parameters(header: xsd.ismrmrdHeader) -> dict[str, float]:
    parameters = header.userParameters
    if parameters is None:
        raise ValueError("the header holds no parameters of the scan")
    return {item.name: float(item.value) for item in parameters.userParameterDouble}


def _system(plan: RadialScanPlan, receive_filter: ReceiveFilter, labels: Sequence[str]) -> Any:  # noqa: ANN401 - untyped library
    return xsd.acquisitionSystemInformationType(
        systemFieldStrength_T=plan.b0,
        relativeReceiverNoiseBandwidth=receive_filter.relative_noise_bandwidth,
        receiverChannels=len(labels),
        coilLabel=[
            xsd.coilLabelType(coilNumber=number, coilName=label) for number, label in enumerate(labels)
        ],
    )


def _encoding(plan: RadialScanPlan) -> Any:  # noqa: ANN401
    space = xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=plan.matrix, y=plan.matrix, z=plan.matrix),
        fieldOfView_mm=xsd.fieldOfViewMm(x=plan.fov * 1e3, y=plan.fov * 1e3, z=plan.fov * 1e3),
    )
    design = plan.design
    doubles = {
        "kmax_1_m": design.kmax,
        "k0_1_m": design.k0,
        "plateau_T_m": design.plateau,
        "slew_T_m_s": design.slew,
        "raster_s": design.raster,
        "readoutDuration_s": design.readout_duration,
        "gradientStart_s": plan.dead_time,
    }
    return xsd.encodingType(
        encodedSpace=space,
        reconSpace=space,
        trajectory=xsd.trajectoryType.RADIAL,
        trajectoryDescription=xsd.trajectoryDescriptionType(
            identifier=TRAJECTORY_NAME, userParameterDouble=_doubles(doubles), comment=TRAJECTORY_CONVENTION
        ),
        encodingLimits=xsd.encodingLimitsType(
            kspace_encoding_step_1=xsd.limitType(minimum=0, maximum=plan.spokes - 1, center=0)
        ),
    )


def _doubles(values: dict[str, float]) -> list[Any]:
    return [xsd.userParameterDoubleType(name=name, value=value) for name, value in values.items()]
