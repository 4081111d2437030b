"""Evaluates runs and writes results.json, its tables, the report and pictures."""
