"""Experiments: many trainings that differ in a setting, run once each, on all cores."""
