"""The log: one line an event on standard error, never a key, a prompt or an answer."""

import logging
import sys


def configure_log(level: int = logging.INFO) -> None:
    """Send the gateway's and the server's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
