"""Answers other than a verdict: why a request was refused, as an exception and as JSON."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from analyzer.errors import Problem

ERROR_CODES = {400: "bad_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed",
               413: "too_large", 415: "unsupported_media_type", 503: "overloaded"}  # fmt: skip


class ProblemAnswer(BaseModel):
    """One wrong field of a request."""

    field: str | None
    message: str


class ErrorDetails(BaseModel):
    """What is wrong."""

    code: str = Field(description="what is wrong, in one word")
    message: str = Field(description="what is wrong, and what to do")
    field: str | None = Field(description="the first field that is wrong; null: none by itself")
    problems: list[ProblemAnswer] | None = Field(None, description="every wrong field of a request")


class ErrorAnswer(BaseModel):
    """The body of every answer that is not 2xx."""

    error: ErrorDetails


class Refusal(Exception):
    """An answer other than a verdict; keyword arguments are headers, with _ for -."""

    def __init__(self, status: int, message: str, *, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code or ERROR_CODES[status]
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def error_code(status: int) -> str:
    """Return the word for a status."""
    return ERROR_CODES.get(status, "internal")


def error_body(code: str, message: str, problems: Sequence[Problem] = ()) -> dict[str, Any]:
    """Return the JSON of an error; `problems` are the wrong fields of a request."""
    first = problems[0].field or None if problems else None
    error = ErrorDetails(code=code, message=message, field=first)
    if problems:
        error.problems = [ProblemAnswer(field=problem.field or None, message=problem.message) for problem in problems]
    return ErrorAnswer(error=error).model_dump(exclude_unset=True)
