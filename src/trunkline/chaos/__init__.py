"""Plays an upstream's faults against an operator's configuration, and judges every answer.

``rehearsal`` makes the configuration playable on this machine alone, ``scenario`` lists what is
played, ``caller`` asks as a client, ``verdict`` judges, and ``drill`` does it all in order.
"""
