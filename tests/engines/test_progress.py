"""The bar that a person sees, on a terminal and elsewhere."""

import io

from trunkline.engines.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_one_bar_drawn_over() -> None:
    stream = Terminal()
    bar = ProgressBar(stream)
    bar.say("Downloading")
    bar.advance(0, 2_000_000)
    bar.advance(2_000_000, 2_000_000)
    bar.say("done")
    lines = stream.getvalue().split("\n")
    assert lines[0] == "Downloading"
    assert lines[1].count("\r") == 2
    assert f"\r[{'#' * 30}] 100 %  2.0 of 2.0 MB, " in lines[1]
    assert lines[2:] == ["done", ""]


def test_elsewhere_every_tenth_is_a_line() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream)
    for done in range(0, 1001, 5):
        bar.advance(done * 1000, 1_000_000)
    lines = stream.getvalue().splitlines()
    assert [line.split(" %")[0] for line in lines] == [str(tenth) for tenth in range(0, 101, 10)]
    assert "\r" not in stream.getvalue()


def test_an_unknown_length_has_no_percentage() -> None:
    stream = Terminal()
    ProgressBar(stream).advance(1_500_000, None)
    assert "1.5 MB, " in stream.getvalue()
