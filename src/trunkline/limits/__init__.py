"""The limits room: how many requests, tokens and calls at once a key and an account may have.

``gcra`` is the arithmetic, ``limit`` says what is limited, for whom, and how clients are told.
``limiter`` opens the limiter of an ``address``: ``memory`` counts for one process, ``redis`` for
several, through ``link``, its conversation with the server, and ``lease``, which looks after the
calls under way. ``gcra`` and ``limit`` are pure.
"""
