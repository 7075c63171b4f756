"""The JSON schema of a request: what the validators accept, as far as a schema can say it.

A schema compares no two values: that canary and baseline differ, that `start` is before `at`, that limits of a policy
and counts of `data` are possible together is checked by the validators alone. Text that holds JSON is accepted and not
described. A field's schema is one object of several types: `pattern` constrains text alone, `minimum` numbers alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from analyzer.config.policy import Check, SharedRegression
from analyzer.model.findings import Kind, Role, Rule
from analyzer.quantity import LATEST
from analyzer.sources.inline import FORMS, MOST
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.request import LABEL_NAME, LABEL_SAFE, LABEL_VALUE, MOST_LABELS, RESERVED, Detail, VerdictRequest

Schema = dict[str, Any]

NUMBER = r"\d{1,12}(?:\.\d{1,12})?"
ABOVE_ZERO = r"(?:[1-9]\d{0,11}(?:\.\d{1,12})?|0?\.\d{0,5}[1-9]\d{0,5})"
UNIT = "(?:ns|us|µs|ms|s|m|h|d)"
DURATION = rf"{ABOVE_ZERO}(?:{UNIT}(?:\d{{1,6}}(?:\.\d{{1,6}})?{UNIT}){{0,3}})?"
WEEK = r"(?:[0-7]d|\d{1,2}h|\d{1,4}m|\d{1,5}s?)"
PERCENTAGE = r"(?:\d{1,2}(?:\.\d{1,12})?|100(?:\.0{1,12})?)%?"
_LEAP = r"(?:19[79][26]|198[048]|20(?:[02468][048]|[13579][26]))-02-29"
_DAY = r"(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8])"
MOMENT = (
    rf"\d{{1,11}}(?:\.\d{{1,9}})?|(?:(?:197[1-9]|19[89]\d|20\d\d)-(?:{_DAY})|{_LEAP})"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
)  # of RFC 3339, from 1971 to 2099
STEADY = ("start", "step")


def _words(words: Iterable[str]) -> str:
    return "|".join(word.replace(".", r"\.") for word in sorted(words))


def _text(pattern: str, *types: str, **more: Any) -> Schema:
    """Return the schema of text, or of values of these types as well: Argo passes every argument as text."""
    return {"type": ["string", *types] if types else "string", "pattern": f"^(?:{pattern})$", **more}


def _object(properties: Schema, *, required: Iterable[str] = ()) -> Schema:
    return {"type": "object", "properties": properties, "required": sorted(required), "additionalProperties": False}


COUNT = _text(NUMBER, "number", minimum=0, maximum=MOST)
SIGNED = _text(f"-?{NUMBER}", "number", minimum=-MOST, maximum=MOST)
SECONDS = _text(DURATION, "number", exclusiveMinimum=0, maximum=MOST)
SLICE = _text(ABOVE_ZERO, "number", exclusiveMinimum=0, maximum=MOST)
EDGE = rf"\+Inf|-?{NUMBER}"
STATISTICS = {
    "sum_of_squares": COUNT,
    "buckets": {
        "type": "object",
        "required": ["+Inf"],
        "minProperties": 2,
        "propertyNames": {"pattern": f"^(?:{EDGE})$"},
        "additionalProperties": COUNT,
    },
    "classes": {"type": "object", "additionalProperties": COUNT},
}
LIMIT = _text(rf"-?{NUMBER}%?|{DURATION}", "number", minimum=-1, maximum=MOST)
OVERRIDES = {
    "promote": LIMIT,
    "rollback": LIMIT,
    "role": {"enum": [role.value for role in Role]},
    "rule": {"enum": [rule.value for rule in Rule]},
    "min_requests": _text(r"[1-9]\d{0,11}", "number", minimum=1, maximum=MOST),
    **dict.fromkeys(("warmup", "pod_warmup", "lag"), _text(WEEK, "number", minimum=0, maximum=MOST)),
    "decide_by": _object(
        {"after": SECONDS, "requests": _text(r"[1-9]\d{0,11}", "number", minimum=1, maximum=MOST)}
    ) | {"minProperties": 1},
}  # fmt: skip
OF_A_KIND = {
    Kind.LATENCY: {"quantile": _text(r"0\.\d{0,5}[1-9]|[1-9]\d?%", "number", exclusiveMinimum=0, exclusiveMaximum=1)},
    Kind.BUSINESS: {"delay": _text(WEEK, "number", minimum=0, maximum=MOST)},
    Kind.DRIFT: {"bins": {"type": "array", "items": SIGNED, "minItems": 1}},
}


def request_fields(analyzer: Analyzer) -> dict[str, Schema]:
    """Return the schema of each field; names of policies, their checks and profiles are those loaded."""
    policies, profiles, checks = _words(analyzer.policies), _words(analyzer.profiles), _checks(analyzer)
    name = _text(LABEL_SAFE.pattern, "null")
    label = f"(?!(?:{_words(RESERVED)})(?:=|$)){LABEL_NAME.pattern}"
    value = r"[!-+\--~]{1,60}"  # of text: no comma; spaces around it are stripped
    moment: Any = {"minimum": 0, "exclusiveMaximum": LATEST}
    listed = f"(?:{_words(checks)})"
    fields = {
        **dict.fromkeys(("service", "namespace", "canary", "baseline"), name),
        "labels": _text(
            rf"unknown|{label}={value}(?:,{label}={value}){{0,{MOST_LABELS - 1}}}", "object", "null",
            maxProperties=MOST_LABELS, propertyNames={"pattern": f"^{label}$"},
            additionalProperties={"type": "string", "pattern": f"^{LABEL_VALUE.pattern}$"},
        ),
        "profile": _text(profiles, "null", examples=sorted(analyzer.profiles)),
        "policy": _text(
            policies, "object", "null", examples=sorted(analyzer.policies), additionalProperties=False,
            properties={
                "base": _text(policies),
                "alpha": _text(r"0\.[0-4]\d{0,5}[1-9]|(?:[1-9]|[1-4]\d)(?:\.\d{1,6})?%", "number",
                               exclusiveMinimum=0, maximum=0.5),
                "history": _text(WEEK, "number", minimum=0, maximum=7 * 86400),
                "role": OVERRIDES["role"],
                "shared_regression": {"enum": [choice.value for choice in SharedRegression]},
                "checks": _object({check: _object(OVERRIDES | OF_A_KIND.get(kinds[0].kind, {}))
                                   for check, kinds in checks.items()}),
            },
        ),
        "checks": _text(rf"all|{listed}(?: *, *{listed}){{0,{len(checks)}}}", "array", "null",
                        items={"enum": sorted(checks)}, minItems=1),
        "window": _text(f"{_words(STEADY)}|{DURATION}"),
        "start": _text(f"unknown|{MOMENT}", "number", "null", **moment),
        "at": _text(MOMENT, "number", "null", **moment),
        "weight": _text(f"unknown|{PERCENTAGE}", "number", "null", minimum=0, maximum=100),
        "detail": {"type": "string", "enum": [detail.value for detail in Detail]},
        "data": {"type": ["object", "null"], "additionalProperties": False,
                 "properties": {check: {"anyOf": _arms(rows)} for check, rows in checks.items()}},
    }  # fmt: skip
    return {
        field: fields[field] | {"description": info.description} for field, info in VerdictRequest.model_fields.items()
    }


def request_schema(analyzer: Analyzer) -> Schema:
    """Return the schema of a body: its fields, and which of them are given together."""
    steady, unset = _text(_words(STEADY)), _text("unknown", "null")
    named = {"service": {"type": "string"}, "canary": {"type": "string"}, "data": {"type": "null"}}
    given = {
        "data": {"type": "object"}, "profile": {"type": "null"}, "window": steady,
        "labels": _text("unknown", "object", "null", maxProperties=0),
    }  # fmt: skip
    return _object(request_fields(analyzer)) | {
        "anyOf": [
            {"required": ["data"], "properties": given},
            {"required": ["service", "canary"], "properties": named | {"window": steady}},
            {"required": ["service", "canary"], "properties": named | {"start": unset}},
        ]
    }


def query_fields(analyzer: Analyzer) -> dict[str, Schema]:
    """Return the schema of each query parameter, which is text; `data` is for bodies."""
    return {
        name: {key: part for key, part in field.items() if key in ("pattern", "enum", "examples")} | {"type": "string"}
        for name, field in request_fields(analyzer).items()
        if name != "data"
    }


def _checks(analyzer: Analyzer) -> Mapping[str, list[Check]]:
    """Return the checks of all policies by name: one name may be of several kinds."""
    checks: dict[str, list[Check]] = {}
    for policy in analyzer.policies.values():
        for name, check in policy.checks.items():
            checks.setdefault(name, []).append(check)
    return checks


def _arms(checks: Iterable[Check]) -> list[Schema]:
    """Return the schemas of a check's statistics: all arms have the same form."""
    arms = []
    for kind in dict.fromkeys(check.kind for check in checks):
        numbers = SIGNED if kind is Kind.BUSINESS else COUNT
        samples = {"type": "array", "items": COUNT if kind is Kind.LATENCY else SIGNED}
        own = STATISTICS | {"sum": numbers, "samples": samples}
        for form in FORMS[kind]:
            part = _object({field: own.get(field, COUNT) for field in sorted(form)}, required=form)
            side = part | {"type": ["object", "array"], "items": part, "minItems": 1}
            sides = dict.fromkeys(("canary", "baseline", "baseline_history"), side)
            arms.append(_object(sides | {"slice_seconds": SLICE}, required=["canary"]))
    return arms
