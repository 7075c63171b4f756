"""Policies and profiles that change while the service runs, as the kubelet changes a mounted ConfigMap."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from web.serving import COUNTS, ask, client_of

from analyzer.web import live

POLICY = "name: mine\nchecks:\n  error_rate: {{kind: error_rate, promote: {0}, rollback: {0}}}\n"
VALID, LAX, INVALID = (POLICY.format(limit) for limit in ("0.5%", "90%", "none"))


def swap(folder: Path, files: Mapping[str, str]) -> None:
    """Write files as the kubelet does: names link into ..data, and ..data to a new folder, put in place at once."""
    version = folder / f"..{len(list(folder.glob('..2*'))) + 2000}"
    version.mkdir()
    for name, text in files.items():
        (version / name).write_text(text)
    (folder / "..data_tmp").symlink_to(version.name)
    (folder / "..data_tmp").replace(folder / "..data")
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")


@pytest.fixture
def policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one valid policy, looked at for every request."""
    monkeypatch.setattr(live, "CHECKED_SECONDS", 0.0)
    folder = tmp_path / "policies"
    folder.mkdir()
    swap(folder, {"mine.yaml": VALID})
    return folder


def verdict(client: FlaskClient) -> tuple[str, str]:
    """Ask by the policy; return verdict and digest."""
    answer = ask(client, {"policy": "mine", "data": COUNTS, "detail": "full"})
    return answer["verdict"], answer["policy_digest"]


def test_a_valid_change_is_taken(policies: Path) -> None:
    """The next verdict is by the new limits."""
    client = client_of(config_dir=policies.parent)
    before = verdict(client)
    swap(policies, {"mine.yaml": LAX})
    after = verdict(client)

    assert (before[0], after[0]) == ("fail", "pass")
    assert before[1] != after[1]


def test_an_invalid_change_keeps_what_was_loaded(policies: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log says once which file is wrong, and where; a later valid change is taken."""
    client = client_of(config_dir=policies.parent)
    before = verdict(client)
    caplog.set_level(logging.WARNING)
    swap(policies, {"mine.yaml": INVALID})
    during = verdict(client), verdict(client)
    lines = [json.loads(record.message) for record in caplog.records]
    refused = [line for line in lines if line["event"] == "config_refused"]
    swap(policies, {"mine.yaml": LAX})

    assert during == (before, before)
    assert len(refused) == 1
    assert "mine.yaml" in refused[0]["message"]
    assert "checks.error_rate.promote" in refused[0]["message"]
    assert verdict(client)[0] == "pass"


def test_a_policy_that_the_settings_name_cannot_go(policies: Path) -> None:
    """A folder without the default policy is refused as at the start."""
    client = client_of(config_dir=policies.parent, policy="mine")
    before = verdict(client)
    (policies / "mine.yaml").unlink()

    assert verdict(client) == before
