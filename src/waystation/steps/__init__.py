"""Steps: the nodes of a plan. ``records.py`` says what a step is; one file per kind does it."""
