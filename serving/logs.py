"""Structured logs: one JSON object a line, with the id of the request that it belongs to."""

import json
import logging
import sys
import time
from contextvars import ContextVar
from typing import Literal

REQUEST_ID: ContextVar[str] = ContextVar("kyara_request_id", default="")
LOGGERS = ("bentoml.kyara", "kyara")
FACTS = "facts"
"""`logger.info(text, extra={FACTS: {...}})` puts the mapping's entries into the object."""


class JsonFormatter(logging.Formatter):
    """time (UTC), level, message, request_id where there is one, what `extra` told, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{when}.{int(record.msecs):03d}Z", "level": record.levelname, "message": record.getMessage()}
        if REQUEST_ID.get():
            line["request_id"] = REQUEST_ID.get()
        line.update(getattr(record, FACTS, {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(form: Literal["json", "text"]) -> None:
    """Let our loggers write JSON to stderr; `text`: as BentoML writes."""
    if form == "text":
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
