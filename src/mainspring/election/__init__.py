"""Electors decide who *tries* to lead; the store's own term decides who *may*.

    store   one driver over `Store.take_term`, for every store

Leader work carries its term and is checked in the same transaction, so that a leader that was paused
and does not know it has been replaced can do no harm.
"""
