"""The access room: keys, accounts and grants; it says who is calling and for which account.

``credential`` reads the key from a request's headers, ``verifier`` turns it into a ``grant``,
``key`` makes and hashes keys, ``pepper`` keeps the secret behind the hashes, ``bootstrap`` keeps
the operator's own key, and ``roster`` is where operators change accounts and keys. The first,
``grant`` and ``wish`` are pure and load no database.
"""
