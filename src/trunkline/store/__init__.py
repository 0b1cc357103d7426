"""The store room: what the gateway remembers in SQL, and how a database is opened.

Start at ``open_store`` in ``store``; ``database`` says what a database does, ``sqlite`` and
``postgres`` how, and the tables are in ``schema``.
"""
