"""The limits room: how many requests, tokens and calls at once, and how much, may be had.

``gcra`` is the arithmetic, ``limit`` says what is limited, for whom, and how clients are told.
``limiter`` opens the limiter of an ``address``: ``memory`` counts for one process, ``redis`` for
several, through ``link``, its conversation with the server, and ``lease``, which looks after the
calls under way. ``gcra`` and ``limit`` are pure.

Budgets say how much may be used: ``purse`` admits calls from a worker's leases, of which ``stock``
keeps count, and ``teller`` asks the database for more. ``budget`` and ``stock`` are pure. Servers
of both are waited for as ``wait`` says.
"""
