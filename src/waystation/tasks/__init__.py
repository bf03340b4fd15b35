"""Tasks: datasets seen as questions. ``task.py`` is the record, ``catalog/`` declares every known one."""
