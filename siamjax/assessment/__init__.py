"""What a run is worth, on disk: results.json and its tables, the report, pictures."""
