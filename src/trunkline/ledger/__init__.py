"""The ledger room: what every call used and cost, written down on every way that it can end.

``entry`` says what is written of a call, ``meter`` what an attempt used, ``price`` what it costs:
all pure. ``journal`` is a worker's own append-only file, made of ``segment``s that ``stock``
prepares, with entries that ``trim`` cuts to their room; ``recovery`` reads it, ``ship`` moves it
to the database as ``row``s, exactly once. ``price_book`` and ``price_rule`` hold the shipped and
the operator's prices, ``price_list`` finds one. ``question`` and ``report`` sum up what was
shipped, ``sheet`` writes it, and ``retention`` removes what is old.
"""
