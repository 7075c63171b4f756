"""Policies for rollouts that are over before a pod is as old as the start of its life that latencies leave out."""

from pathlib import Path

from analyzer.config.policy import PACKAGED

WARMUP, NO_WARMUP = "pod_warmup: 2m", "pod_warmup: 0s"


def without_warmup(folder: Path) -> str:
    """Write the packaged policies without `pod_warmup` into a folder; return it, for `ANALYZER_CONFIG_DIR`."""
    policies = folder / "policies"
    policies.mkdir(parents=True, exist_ok=True)
    for packaged in PACKAGED.glob("*.yaml"):
        text = packaged.read_text(encoding="utf-8")
        assert WARMUP in text, f"{packaged} does not say {WARMUP}"
        (policies / packaged.name).write_text(text.replace(WARMUP, NO_WARMUP), encoding="utf-8")
    return str(folder)
