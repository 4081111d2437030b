"""A finished run, opened for use by all that judges or asks it."""
