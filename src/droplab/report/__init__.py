"""Reports: from what the store holds to tables, verdicts, charts and a page."""
