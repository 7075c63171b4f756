"""The log of the service: one JSON object per line on standard error."""

import logging
import time
import traceback
from typing import Any

import orjson

from analyzer.quantity import format_instant

log = logging.getLogger("analyzer")


def log_event(event: str, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Write one line: the event, the time, the level, and what else is known; of an error its traceback."""
    line = {"event": event, "time": format_instant(time.time()), "level": logging.getLevelName(level).lower(), **fields}
    if error is not None:
        line["traceback"] = "".join(traceback.format_exception(error))
    log.log(level, orjson.dumps(line).decode())
