"""The gateway process that fuzz tests talk to."""

import subprocess
from dataclasses import dataclass

import httpx

ANSWER_WITHIN_S = 5


@dataclass(frozen=True)
class Served:
    """A gateway process that answers on ``port``."""

    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def check_health(self) -> None:
        """Fail unless the very same process still serves."""
        assert self.process.poll() is None, "the gateway process has ended"
        assert httpx.get(f"{self.url}/livez", timeout=ANSWER_WITHIN_S).status_code == 200
