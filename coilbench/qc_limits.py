"""Limits of the morning's quality control: what is a warning, what fails; one versioned set.

The table ``[qc]`` of a bench file is such a set.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from coilbench.base.units import parse_quantity

#: Name of the set that is in force where a bench file says nothing.
_DEFAULT_NAME: Final = "default 1"
_Decibel = Annotated[float, BeforeValidator(lambda value: parse_quantity(value, "dB"))]
_Metre = Annotated[float, BeforeValidator(lambda value: parse_quantity(value, "m"))]


class QualityLimits(BaseModel):
    """How far a coil may be from its baseline, each quantity with a warning before its limit.

    The defaults are the practice that TG-284 and vendors' service manuals leave to each site; judged with the
    expanded uncertainty.

    Raises
    ------
    ValueError
        A warning comes after its limit, or numbers were changed and the set still has the default's name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        default=_DEFAULT_NAME,
        min_length=1,
        max_length=64,
        description="Of the set; kept with every verdict, so change it whenever a number changes.",
    )
    noise_warn_db: _Decibel = Field(default=0.5, description="Change of a channel's noise: warning, dB.")
    noise_fail_db: _Decibel = Field(default=1.0, description="Change of a channel's noise: limit, dB.")
    snr_warn: float = Field(default=0.1, description="Relative change of a channel's SNR: warning.")
    snr_fail: float = Field(default=0.2, description="Relative change of a channel's SNR: limit.")
    uniformity_warn: float = Field(
        default=2.0, description="Change of the noise-corrected uniformity: warning, points of percent."
    )
    uniformity_fail: float = Field(
        default=3.0, description="Change of the noise-corrected uniformity: limit, points of percent."
    )
    diameter_warn: _Metre = Field(default=1e-3, description="Change of a diameter: warning, m.")
    # ACR Large Phantom Test Guidance, section 2: 2 mm of 190
    diameter_fail: _Metre = Field(default=2e-3, description="Change of a diameter: limit, m.")
    resolution_warn: float = Field(
        default=1.1, description="Width of the point spread over the promised one: warning."
    )
    resolution_fail: float = Field(
        default=1.2, description="Width of the point spread over the promised one: limit."
    )
    streaks_warn: float = Field(
        default=0.1, description="Background over noise, less 1, beyond the baseline's: warning."
    )
    streaks_fail: float = Field(
        default=0.2, description="Background over noise, less 1, beyond the baseline's: limit."
    )
    ghosting_warn: float = Field(
        default=1.5, description="Percent signal ghosting of a Cartesian slice: warning, %."
    )
    # ACR Large Phantom Test Guidance, section 6.4
    ghosting_fail: float = Field(
        default=2.5, description="Percent signal ghosting of a Cartesian slice: limit, %."
    )
    uniformity_minimum: float | None = Field(
        default=None,
        gt=0.0,
        lt=100.0,
        description="Least noise-corrected uniformity, %; not judged by default: it is the coil's.",
    )

    @model_validator(mode="after")
    def _warnings_come_first(self) -> QualityLimits:
        pairs = (
            ("noise", self.noise_warn_db, self.noise_fail_db),
            ("snr", self.snr_warn, self.snr_fail),
            ("uniformity", self.uniformity_warn, self.uniformity_fail),
            ("diameter", self.diameter_warn, self.diameter_fail),
            ("resolution", self.resolution_warn, self.resolution_fail),
            ("streaks", self.streaks_warn, self.streaks_fail),
            ("ghosting", self.ghosting_warn, self.ghosting_fail),
        )
        for what, warn, fail in pairs:
            if not 0 < warn <= fail:
                raise ValueError(f"{what}: a warning comes before its limit, got {warn} and {fail}")
        return self

    @model_validator(mode="after")
    def _changed_sets_have_a_name(self) -> QualityLimits:
        if self.name == _DEFAULT_NAME and any(
            getattr(self, key) != field.default for key, field in type(self).model_fields.items()
        ):
            raise ValueError(
                "limits differ from the default ones: give the set a name of its own, such as "
                'name = "7 T lab 1"; verdicts of different limits are never charted together'
            )
        return self
