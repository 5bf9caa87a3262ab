"""What a coil array is worth: limits, verdicts, the sample's share of the noise, records and changes."""

from coils.quality.comparison import Change, Comparison, compare_records
from coils.quality.judgement import PortJudgement, decibels, judge_array, judge_parameter, worst_of_each
from coils.quality.limits import Limits
from coils.quality.loading import Loading, Reading, coil_loading
from coils.quality.numbers import Quantity, every_number, headline_numbers, judge_readings
from coils.quality.record import Calibration, CoilRecord, NucleusRecord, PortResonance
from coils.quality.record_json import read_record, record_text

__all__ = [
    "Calibration",
    "Change",
    "CoilRecord",
    "Comparison",
    "Limits",
    "Loading",
    "NucleusRecord",
    "PortJudgement",
    "PortResonance",
    "Quantity",
    "Reading",
    "coil_loading",
    "compare_records",
    "decibels",
    "every_number",
    "headline_numbers",
    "judge_array",
    "judge_parameter",
    "judge_readings",
    "read_record",
    "record_text",
    "worst_of_each",
]
