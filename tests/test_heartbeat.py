import asyncio
import selectors
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from trunkline.heartbeat import PING, Heartbeat
from trunkline.wishes import Wishes


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop that never sleeps: it puts its own clock forward to the next timer."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.now_s


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._jumping = loop

    def select(self, timeout: float | None = None) -> Any:
        self._jumping.now_s += timeout or 0
        return super().select(0)


class FakeExchange:
    """Notes what is written, and when."""

    method = "POST"
    headers: Mapping[bytes, bytes] = {}
    wishes = Wishes()
    gone = False
    idle_s = 60.0

    def __init__(self, loop: JumpingLoop) -> None:
        self._loop = loop
        self.started = False
        self.paused = False
        self.begun_s: list[float] = []
        self.written: list[tuple[float, bytes]] = []

    def begin(self) -> None:
        assert not self.started
        self.started = True
        self.begun_s.append(self._loop.now_s - 1000)

    def write(self, data: bytes) -> bool:
        assert self.started
        self.written.append((self._loop.now_s - 1000, data))
        return False

    def write_chunk(self, chunk: bytes) -> bool:
        raise NotImplementedError

    def take_body(self, limit_bytes: int) -> bytes | None:
        raise NotImplementedError

    async def read_body(self, limit_bytes: int) -> bytes:
        raise NotImplementedError

    def answer(self, *args: Any) -> None:
        raise NotImplementedError

    def start(self, *args: Any) -> None:
        raise NotImplementedError

    async def drain(self) -> None:
        raise NotImplementedError

    def end(self, last: bytes = b"") -> None:
        raise NotImplementedError

    def cut(self) -> None:
        raise NotImplementedError


Story = Callable[[FakeExchange, Heartbeat], Awaitable[None]]


def play(story: Story, hold_s: float = 20, every_s: float = 15) -> FakeExchange:
    """Run a story with a heartbeat, on a clock that jumps."""
    loop = JumpingLoop()
    exchange = FakeExchange(loop)

    async def run() -> None:
        heartbeat = Heartbeat(exchange, exchange.begin, hold_s, every_s)
        try:
            await story(exchange, heartbeat)
        finally:
            heartbeat.stop()
        await asyncio.sleep(1000)

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    return exchange


def speak(exchange: FakeExchange, heartbeat: Heartbeat) -> None:
    if not exchange.started:
        exchange.begin()
    exchange.write(b"text")
    heartbeat.note_write()


def test_silence_starts_the_answer_and_is_then_broken_again_and_again() -> None:
    async def story(exchange: FakeExchange, heartbeat: Heartbeat) -> None:
        await asyncio.sleep(51)

    exchange = play(story)
    assert exchange.begun_s == [20]
    assert exchange.written == [(20, PING), (35, PING), (50, PING)]


def test_content_in_time_starts_the_answer_by_itself() -> None:
    async def story(exchange: FakeExchange, heartbeat: Heartbeat) -> None:
        await asyncio.sleep(3)
        speak(exchange, heartbeat)
        await asyncio.sleep(10)

    exchange = play(story)
    assert exchange.begun_s == [3]
    assert exchange.written == [(3, b"text")]


def test_no_comment_disturbs_a_stream_that_flows() -> None:
    async def story(exchange: FakeExchange, heartbeat: Heartbeat) -> None:
        for _ in range(20):
            await asyncio.sleep(14)
            speak(exchange, heartbeat)

    assert {data for _, data in play(story).written} == {b"text"}


def test_silence_is_counted_from_the_last_write() -> None:
    async def story(exchange: FakeExchange, heartbeat: Heartbeat) -> None:
        await asyncio.sleep(19)
        speak(exchange, heartbeat)
        await asyncio.sleep(10)
        speak(exchange, heartbeat)
        await asyncio.sleep(31)

    assert play(story).written == [
        (19, b"text"),
        (29, b"text"),
        (44, PING),
        (59, PING),
    ]


def test_a_write_of_a_known_time_breaks_the_silence_too() -> None:
    async def story(exchange: FakeExchange, heartbeat: Heartbeat) -> None:
        await asyncio.sleep(19)
        speak(exchange, heartbeat)
        await asyncio.sleep(10)
        heartbeat.written_s = asyncio.get_running_loop().time()
        await asyncio.sleep(16)

    assert play(story).written == [(19, b"text"), (44, PING)]


def test_silence_that_began_before_the_hold_was_over_counts() -> None:
    async def story(exchange: FakeExchange, heartbeat: Heartbeat) -> None:
        await asyncio.sleep(1)
        speak(exchange, heartbeat)
        await asyncio.sleep(30)

    # The timer is lazy: it looks when the hold is over, and finds more than enough silence.
    assert play(story).written == [(1, b"text"), (20, PING)]


def test_a_reader_that_lags_is_sent_nothing_more() -> None:
    async def story(exchange: FakeExchange, heartbeat: Heartbeat) -> None:
        speak(exchange, heartbeat)
        exchange.paused = True
        await asyncio.sleep(40)
        exchange.paused = False
        await asyncio.sleep(15)

    pings = [at_s for at_s, data in play(story).written if data == PING]
    assert len(pings) == 1
    assert 40 <= pings[0] <= 55


def test_stopped_is_silent() -> None:
    async def story(exchange: FakeExchange, heartbeat: Heartbeat) -> None:
        await asyncio.sleep(21)
        heartbeat.stop()
        await asyncio.sleep(100)

    assert play(story).written == [(20, PING)]

    async def stop_at_once(exchange: FakeExchange, heartbeat: Heartbeat) -> None:
        heartbeat.stop()

    exchange = play(stop_at_once)
    assert (exchange.begun_s, exchange.written) == ([], [])


def test_a_short_patience_is_met() -> None:
    async def story(exchange: FakeExchange, heartbeat: Heartbeat) -> None:
        await asyncio.sleep(2)

    exchange = play(story, hold_s=0.5, every_s=0.25)
    assert [at_s for at_s, _ in exchange.written] == [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]
