"""What a run of many seeds must have met often enough for its silence to mean something, besides the steps of
the lifecycle and the faults. The checks count them with `Check.see`."""

SIGHTS = (
    "fire.made",
    "fire.by_hand",
    "fire.waits",
    "fire.cancels",
    "fire.repeated",
    "fire.version_mismatch",
    "fire.deposed",
    "fire.backlog_full",
    "fire.id_taken",
    "skip.paused",
    "skip.by_hand",
    "skip.missed",
    "skip.coalesced",
    "skip.over_limit",
    "skip.overlap",
    "skip.superseded",
    "skip.backlog_full",
    "schedule.deleted",
    "schedule.written_by_sql",
    "schedule.quarantined",
    "schedule.mended",
    "term.changed",
    "term.resigned",
)
_OF_ELECTION = ("term.changed", "term.resigned", "fire.deposed")
WITHOUT_ELECTION = tuple(sight for sight in SIGHTS if sight not in _OF_ELECTION)
