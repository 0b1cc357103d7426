"""Who the audit says it was."""

import os
import pwd

import pytest

from trunkline.cli.operator import name_operator


def test_it_is_the_login_name_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert name_operator() == f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
