"""The schema's history: one file a step, run by Alembic inside the transaction of the caller.

Steps only lead forward: a step that cannot be finished is undone whole by its transaction, and
the way back to an older version is the copy of the database made before the upgrade.
"""
