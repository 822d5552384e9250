"""Mainspring: a distributed task scheduler. Durable, fair, fast; one process or many."""

__version__ = "0.1.0"
