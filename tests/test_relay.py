"""How a stream's timing fits a client's patience."""

import pytest

from trunkline.relay import StreamTiming


@pytest.mark.parametrize(
    ("read_timeout", "wanted"),
    [
        (None, (20, 15)),
        (b"600", (20, 15)),
        (b"60", (20, 15)),
        (b"30", (15, 10)),
        (b"6", (3, 2)),
        (b"1.5", (0.75, 0.5)),
        # Below a second the client asks for more than silence can be broken.
        (b"0.000001", (0.5, 1 / 3)),
        (b"0", (20, 15)),
        (b"-1", (20, 15)),
        (b"nan", (20, 15)),
        (b"inf", (20, 15)),
        (b"soon", (20, 15)),
        (b"\xff", (20, 15)),
        (b"", (20, 15)),
    ],
)
def test_hold_and_interval_stay_below_the_clients_patience(
    read_timeout: bytes | None, wanted: tuple[float, float]
) -> None:
    assert StreamTiming().fit(read_timeout) == pytest.approx(wanted)


def test_the_settings_are_the_most() -> None:
    assert StreamTiming(hold_s=2, keepalive_s=1).fit(b"60") == (2, 1)
