"""A replay as JSON."""

from typing import Any

from analyzer.planning.replayed_rollout import CheckMeasurement, Measurement, PolicyReplay, Replay
from analyzer.quantity import format_instant
from analyzer.verdict.answer import number
from analyzer.version import __version__


def replay_as_json(replay: Replay) -> dict[str, Any]:
    """Write everything that was replay."""
    request, window = replay.request, replay.window
    return {
        "service": request.service,
        "namespace": request.namespace,
        "canary": request.canary,
        "baseline": request.baseline,
        "window": {
            "start": _instant(window.start),
            "end": _instant(window.end),
            "seconds": number(replay.policies[0].measurements[-1].seconds, 9),
        },
        "every": number(replay.every, 9),
        "resolution": number(replay.resolution, 9),
        "notes": list(replay.notes),
        "policies": [_policy(replayed) for replayed in replay.policies],
        "queries": list(replay.queries),
        "version": __version__,
    }


def _policy(replayed: PolicyReplay) -> dict[str, Any]:
    decision = replayed.decision
    return {
        "policy": replayed.policy.name,
        "label": replayed.label,
        "policy_digest": replayed.policy.digest,
        "decision": {
            "verdict": decision.outcome.value,
            **_when(decision.look),
            "requests": number(decision.look.requests, 15),
            "reason": decision.look.reason,
            "stood": decision.final,
            "first_pass": None if decision.passed is None else _when(decision.passed),
        },
        "looks": [
            {
                **_when(look),
                "verdict": look.outcome.value,
                "reason": look.reason,
                "requests": number(look.requests, 15),
                "checks": {name: _check_as_json(check) for name, check in look.checks.items()},
            }
            for look in replayed.measurements
        ],
    }


def _when(look: Measurement) -> dict[str, Any]:
    return {"at": _instant(look.moment), "seconds": number(look.seconds, 9)}


def _check_as_json(check: CheckMeasurement) -> dict[str, Any]:
    return {
        "verdict": check.outcome.value,
        "code": check.code.value,
        "reason": check.reason,
        "value": number(check.judged.value),
        "low": number(check.judged.low),
        "high": number(check.judged.high),
        "baseline": number(check.baseline.value),
        "evidence": {"pass": number(check.towards_pass), "fail": number(check.towards_fail)},
        "requests": number(check.requests, 15),
    }


def _instant(seconds: float | None) -> str | None:
    return None if seconds is None else format_instant(seconds)
