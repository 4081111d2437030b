"""Alarms of the live monitor for other systems, each kept on disk until it is taken."""
