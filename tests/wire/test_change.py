import pytest

from trunkline.errors import GatewayError
from trunkline.wire.change import Changes


def test_changes_are_told_once_each_in_order() -> None:
    changes = Changes()
    changes.note("stand_in")
    changes.rename("max_tokens", "max_new_tokens")
    changes.default("temperature", 0.2)
    changes.clamp("top_k", -1)
    changes.drop("logit_bias")
    changes.drop("logit_bias")
    changes.note("stand_in")
    assert changes.words == [
        "stand_in",
        "renamed:max_tokens=max_new_tokens",
        "defaulted:temperature=0.2",
        "clamped:top_k=-1",
        "dropped:logit_bias",
    ]


def test_a_strict_client_is_refused_what_loses_something() -> None:
    changes = Changes(strict=True)
    changes.note("stand_in")
    changes.rename("max_tokens", "max_new_tokens")
    changes.default("temperature", 0.2)
    told = list(changes.words)
    with pytest.raises(GatewayError, match="'top_k' would have to be -1") as clamped:
        changes.clamp("top_k", -1)
    with pytest.raises(GatewayError, match="'logit_bias' is not known") as dropped:
        changes.drop("logit_bias")
    for caught, param in ((clamped, "top_k"), (dropped, "logit_bias")):
        assert (caught.value.code, caught.value.param) == ("invalid_request", param)
        assert "x-trunkline-strict" in caught.value.message
    assert changes.words == told == [
        "stand_in",
        "renamed:max_tokens=max_new_tokens",
        "defaulted:temperature=0.2",
    ]  # fmt: skip
