"""A table of counters without dirt."""

import numpy as np
import pandas as pd

ROWS = 60


def clean(rows=ROWS):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        dict(
            time=pd.date_range("2024-03-01 10:00", periods=rows, freq="60s"),
            load=rng.uniform(20, 80, rows).round(3),
            calls=rng.poisson(9, rows),
        )
    )
