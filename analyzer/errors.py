"""What can go wrong, by what the caller does next.

::

    AnalyzerError
    ├── RequestError           the caller sent something wrong: 400, exit code 2
    ├── ConfigError            a policy, profile or setting is wrong: refuse to start, exit code 2
    ├── NotInstalled           a package of an extra is missing: exit code 2, or 501
    └── SourceError            the source of the counts did not give them: the check is inconclusive
        ├── SourceUnavailable  no answer, an overloaded answer, or none in time: asking again may help
        ├── BadResponse        an answer that cannot be used: asking again will not help
        └── PartialData        an answer that says itself that it is not complete

No data, or too little of it, is not an error but an inconclusive finding, and never a pass.
"""

from dataclasses import dataclass


class AnalyzerError(Exception):
    """Root of all errors that the analyzer raises on purpose."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a request or a configuration file.

    Attributes
    ----------
    field : dotted path of the field, for example ``policy.checks.latency_p99.promote``; empty for the whole
    message : what is wrong and what to do about it
    """

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class _WithProblems(AnalyzerError):
    def __init__(self, problems: list[Problem], where: str = "") -> None:
        self.problems, self.where = problems, where
        text = "; ".join(str(problem) for problem in problems)
        super().__init__(f"{where}: {text}" if where else text)


class RequestError(_WithProblems):
    """The request cannot be answered as it is; `problems` names every field that is wrong."""


class ConfigError(_WithProblems):
    """A policy, profile or setting is wrong; the message names the file, the key and the remedy."""


class NotInstalled(AnalyzerError):
    """A package is missing that only an extra of the analyzer brings; the message names the command to install it."""

    def __init__(self, package: str | None, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'rollout-analyzer[{extra}]'")


class SourceError(AnalyzerError):
    """The source of the counts did not give them; `reason` is one word of a closed list, for metrics."""

    reason = "error"


class SourceUnavailable(SourceError):
    """The source did not answer, answered that it is overloaded, or not within the deadline."""

    reason = "unavailable"


class BadResponse(SourceError):
    """The source answered something that cannot be used."""

    reason = "bad_response"


class PartialData(SourceError):
    """The source answered with a warning, or said that its answer is not complete."""

    reason = "partial"
