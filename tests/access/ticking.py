"""A clock that goes on by a microsecond whenever it is asked."""


class Ticking:
    def __init__(self) -> None:
        self.now_us = 1_800_000_000_000_000

    def __call__(self) -> int:
        self.now_us += 1
        return self.now_us
