"""The log of the service: one JSON object per line on standard error."""

import atexit
import logging
import threading
import time
import traceback
from queue import Empty, Full, Queue
from typing import Any, TextIO

import orjson

from analyzer.quantity import format_instant

log = logging.getLogger("analyzer")
MOST_WAITING = 10_000  # lines
LAST_SECONDS = 2.0  # for the lines that wait when the service ends


class EventLog(logging.Handler):
    """Writes lines by a thread of its own: nobody may read the other end of a pipe, and no verdict waits for that.

    Lines beyond `MOST_WAITING` are dropped, and counted in the next line that is written.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream, self._dropped = stream, 0
        self._waiting: Queue[str] = Queue(MOST_WAITING)
        threading.Thread(target=self._write, daemon=True, name="log").start()
        atexit.register(self.flush)

    def emit(self, record: logging.LogRecord) -> None:
        """Let a line wait for the thread."""
        try:
            self._waiting.put_nowait(self.format(record))
        except Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until all is written, but not for long."""
        ends = time.monotonic() + LAST_SECONDS
        while self._waiting.unfinished_tasks and time.monotonic() < ends:
            time.sleep(0.01)

    def _write(self) -> None:
        while True:
            lines = [self._waiting.get()]
            while len(lines) < MOST_WAITING:
                try:
                    lines.append(self._waiting.get_nowait())
                except Empty:
                    break
            dropped, self._dropped = self._dropped, 0
            if dropped:
                lines.append(_line("dropped", logging.WARNING, lines=dropped))
            try:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # closed: there is nobody to tell
                pass
            for _ in range(len(lines) - bool(dropped)):
                self._waiting.task_done()


def log_event(event: str, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Write one line: the event, the time, the level, and what else is known; of an error its traceback."""
    if error is not None:
        fields["traceback"] = "".join(traceback.format_exception(error))
    log.log(level, _line(event, level, **fields))


def _line(event: str, level: int, **fields: Any) -> str:
    known = {"event": event, "time": format_instant(time.time()), "level": logging.getLevelName(level).lower()}
    return orjson.dumps(known | fields).decode()
