"""Opens a finished run: evaluation, identification and auditing start from it."""
