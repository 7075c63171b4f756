"""Tests of `analyzer.driver.resource`: who has changed a resource last."""

from typing import Any

import pytest

from analyzer.driver.resource import MANAGER, Object, condition, last_changed, last_changed_by, note_begin

PERCENT: Object = {"f:spec": {"f:predictor": {"f:canaryTrafficPercent": {}}}}
MODEL: Object = {"f:spec": {"f:predictor": {"f:model": {"f:storageUri": {}}}}}
LABELS: Object = {"f:metadata": {"f:labels": {}}}


def entry(manager: str, second: int, fields: Object, **more: Any) -> Object:
    """Build what the API server notes down of a change."""
    return {"manager": manager, "time": f"2026-01-05T12:00:{second:02}Z", "fieldsV1": fields, **more}


def changed(*entries: Object) -> Object:
    """Build a resource that was changed so."""
    return {"metadata": {"managedFields": list(entries)}}


@pytest.mark.parametrize(
    ("entries", "ours", "surely"),
    [
        ([], False, False),
        ([entry("kubectl", 1, MODEL)], False, False),
        ([entry(MANAGER, 1, PERCENT)], True, True),
        ([entry("kubectl", 1, MODEL), entry(MANAGER, 2, PERCENT)], True, True),
        ([entry("kubectl", 3, MODEL), entry(MANAGER, 2, PERCENT)], False, False),
        # Within one second: a rollout that begins right after the resource was applied, or a weight that was taken.
        ([entry("kubectl", 2, MODEL), entry(MANAGER, 2, PERCENT)], True, False),
        ([entry("kubectl", 2, PERCENT), entry(MANAGER, 2, MODEL)], False, False),
        # What does not touch the specification.
        ([entry(MANAGER, 2, PERCENT), entry("kserve", 9, {"f:status": {}}, subresource="status")], True, True),
        (
            [entry(MANAGER, 2, PERCENT), entry("hpa", 9, {"f:spec": {"f:replicas": {}}}, subresource="scale")],
            True,
            True,
        ),
        ([entry(MANAGER, 2, PERCENT), entry("argocd", 9, LABELS)], True, True),
    ],
)
def test_who_was_the_last(entries: list[Object], ours: bool, surely: bool) -> None:
    """The driver, or somebody else."""
    assert last_changed(changed(*entries))[0] is ours
    assert last_changed(changed(*entries), surely=True)[0] is surely


def test_the_time_is_that_of_the_last_change() -> None:
    """Whoever made it; none is known of what nobody has changed."""
    found = changed(entry("kubectl", 7, MODEL), entry(MANAGER, 2, PERCENT))
    assert last_changed(found)[1] == 1767614407.0
    assert last_changed_by(found) == "kubectl"
    assert last_changed({"metadata": {}}) == (False, None)
    assert last_changed_by({"metadata": {}}) == "somebody"


def test_the_begin_is_noted_beside_other_annotations() -> None:
    """None is lost."""
    assert note_begin({"metadata": {}})[0]["path"] == "/metadata/annotations"
    assert note_begin({"metadata": {"annotations": {"a": "b"}}})[0]["path"].startswith("/metadata/annotations/rollout-")


def test_a_condition_says_why_it_is_not_met() -> None:
    """Empty where it is."""
    found = {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "Unknown"}]}}
    assert condition(found, "Ready") == ""
    assert condition(found, "Other") == "Other is Unknown"
    assert condition({}, "Ready") == "Ready is not reported yet"
