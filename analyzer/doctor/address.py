"""Whether an address is the analyzer's, seen as Argo would see it."""

from dataclasses import dataclass

import requests

TIMEOUT_SECONDS = 10.0  # as in the templates
VERDICTS = ("pass", "fail", "inconclusive")
PROMOTES = (
    "Argo Rollouts up to v1.10.2 takes any such answer for a success and promotes every canary. Set `analyzer-url` to "
    "an address that leads to the analyzer itself, through no login page: that of its Service in the cluster"
)


@dataclass(frozen=True)
class AddressFinding:
    """Whether a template may call the address, and why not."""

    reason: str
    fine: bool = False


def try_address(url: str) -> AddressFinding:
    """Ask the address for a verdict on nothing, which no metric shows, by the same means as Argo's web provider.

    Parameters
    ----------
    url : as in the argument `analyzer-url` of the templates
    """
    target = f"{url.rstrip('/')}/v1/verdict"
    try:
        with requests.Session() as session:
            session.trust_env = False
            response = session.post(target, json={"data": {}}, timeout=TIMEOUT_SECONDS)
    except requests.RequestException as error:
        cause = type(error).__name__
        return AddressFinding(
            f"no answer ({cause}): is it an address of the cluster, and does the NetworkPolicy admit it?"
        )
    body = _object(response)
    what = f"HTTP {response.status_code}, {response.headers.get('Content-Type', 'without a type')}"
    if response.ok and body.get("verdict") not in VERDICTS:
        return AddressFinding(f"it answered with no verdict ({what}). {PROMOTES}")
    if response.history:
        return AddressFinding(f"it redirects to {response.url[:100]}: set `analyzer-url` to where it answers")
    if response.ok:
        return AddressFinding("it answers with a verdict", fine=True)
    if response.status_code == 401 and isinstance(body.get("error"), dict):
        return AddressFinding("it is an analyzer that asks for a token: the template must send it", fine=True)
    return AddressFinding(f"it answered {what}: is it the analyzer's?")


def _object(response: requests.Response) -> dict[str, object]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
