"""Resonances: fits with uncertainty, the rules of the bench beside them, loading, probes and coupling."""

from __future__ import annotations

from coils.resonance.files import Trace, fit_touchstone, fit_trace, read_trace
from coils.resonance.fit import MINIMUM_SPAN, fit_resonance, fit_resonances
from coils.resonance.loading import Loading, compare_loading, loading_from_q
from coils.resonance.matched import CouplingCandidate, MatchedCoupling, coupling_from_matched
from coils.resonance.model import Kind, Resonance, ResonanceUncertainty
from coils.resonance.probes import ProbeMeasurement, check_isolation, measure_with_probes
from coils.resonance.rules import RuleOfThumb, rules_of_thumb, seven_db_rule, three_db_rule
from coils.resonance.split import SplitCoupling, coupling_from_split, coupling_of_modes
from coils.resonance.statement import MAXIMUM_Q_UNCERTAINTY, MAXIMUM_RESIDUAL

__all__ = [
    "MAXIMUM_Q_UNCERTAINTY",
    "MAXIMUM_RESIDUAL",
    "MINIMUM_SPAN",
    "CouplingCandidate",
    "Kind",
    "Loading",
    "MatchedCoupling",
    "ProbeMeasurement",
    "Resonance",
    "ResonanceUncertainty",
    "RuleOfThumb",
    "SplitCoupling",
    "Trace",
    "check_isolation",
    "compare_loading",
    "coupling_from_matched",
    "coupling_from_split",
    "coupling_of_modes",
    "fit_resonance",
    "fit_resonances",
    "fit_touchstone",
    "fit_trace",
    "loading_from_q",
    "measure_with_probes",
    "read_trace",
    "rules_of_thumb",
    "seven_db_rule",
    "three_db_rule",
]
