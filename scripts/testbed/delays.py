"""The delay of a relay or wire, which is set while it runs."""

import random
import sys


class Delay:
    """Uniform from mean - jitter to mean + jitter, in seconds; never negative."""

    def __init__(self):
        self.mean = self.jitter = 0.0

    def read_setting(self):
        """Read a line "MEAN JITTER" from standard input."""
        self.mean, self.jitter = map(float, sys.stdin.readline().split())

    def draw(self):
        return max(
            0.0, random.uniform(self.mean - self.jitter, self.mean + self.jitter)
        )
