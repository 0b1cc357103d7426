"""The engine's log: bounded, and without parts of requests."""

from pathlib import Path

from trunkline.engines.capture import EngineLog


def test_it_never_grows_past_twice_the_limit(tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "logs" / "e.log", limit_bytes=100)
    for number in range(50):
        log.add(b"line %03d of the log\n" % number, serving=False)
    log.close()
    old, new = tmp_path / "logs" / "e.log.1", tmp_path / "logs" / "e.log"
    assert old.stat().st_size <= 100
    assert new.stat().st_size <= 100
    assert new.read_bytes().endswith(b"line 049 of the log\n")
    assert [line[5:8] for line in log.read_last()] == [f"{number:03}" for number in range(42, 50)]


def test_a_new_process_begins_with_no_last_lines(tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "e.log")
    log.add(b"old", serving=False)
    log.forget_last()
    log.add(b"new\n", serving=False)
    log.close()
    assert log.read_last() == ["new"]


def test_while_calls_run_only_known_lines_are_kept(tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "e.log")
    kept = [
        b"0.01.039.323 E srv    send_error: task id = 4, error: request exceeds the context",
        b"/src/ggml.c:12: GGML_ASSERT(n > 0) failed",
        b"terminate called after throwing an instance of 'std::runtime_error'",
    ]
    for line in [*kept, b"parse: error parsing grammar", b"", b"a piece of a prompt"]:
        log.add(line + b"\n", serving=True)
    log.close()
    assert (tmp_path / "e.log").read_bytes().splitlines() == kept
