"""Studies: a question asked with many jobs, and answered with tables, intervals and verdicts. Torch-free.

from bfc_core import studies

plan = studies.members(spec)                # the jobs, with their packs
result = studies.conclude(spec, outcomes)   # tables, statistics, claims
studies.power(spec)                         # what so many seeds can show
"""

from bfc_core.studies import correction, duel, information_gap, sweep
from bfc_core.studies.member import Member
from bfc_core.studies.outcomes import Outcome
from bfc_core.studies.question import Question, conclude, members, power, question, size

__all__ = [
    "Member",
    "Outcome",
    "Question",
    "conclude",
    "correction",
    "duel",
    "information_gap",
    "members",
    "power",
    "question",
    "size",
    "sweep",
]
