"""The store room: what the gateway remembers in SQL, and how a database is opened.

Start at ``store.open_store`` in ``trunkline.store.store``; the tables are in ``schema``.
"""
