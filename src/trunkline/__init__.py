"""Trunkline: a self-hosted inference gateway that speaks Scale's GenAI Platform API.

The rooms in the order in which a call passes through them:

- ``api`` takes HTTP in and gives it out: routes, keys in headers, body limits, answers.
- ``wire`` reads and writes the formats, pure, in both directions.
- ``access`` knows accounts and keys and says who is calling.
- ``routing`` turns a model name into an ordered plan of targets.
- ``relay`` is the spine: admit, plan, attempt, stream, settle.
- ``providers`` are upstream servers, as rows of data, behind one HTTP client.
- ``engines`` are providers that we start ourselves.
- ``store`` keeps accounts and keys in SQL; ``observe`` writes the log.
- ``app`` puts the rooms together from ``settings``; ``cli`` is the command line.
"""

__version__ = "0.1.0"
