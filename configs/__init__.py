"""What to train or compare: default.py has every field, a variant changes some."""
