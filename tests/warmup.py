"""Policies for rollouts of seconds: no pod is as old, and no baseline seen as long, as the packaged policies ask."""

from pathlib import Path

from analyzer.config.policy import PACKAGED

CHANGES = {"pod_warmup: 2m": "pod_warmup: 0s", "delay: 10m": "delay: 0s"}


def without_warmup(folder: Path) -> str:
    """Write the packaged policies without warm-up and delay into a folder; return it, for `ANALYZER_CONFIG_DIR`."""
    policies = folder / "policies"
    policies.mkdir(parents=True, exist_ok=True)
    for packaged in PACKAGED.glob("*.yaml"):
        text = packaged.read_text(encoding="utf-8")
        for packaged_words, words in CHANGES.items():
            assert packaged_words in text, f"{packaged} does not say {packaged_words}"
            text = text.replace(packaged_words, words)
        # There is no hour of the baseline before the canary, and none is to be allowed for.
        (policies / packaged.name).write_text(f"{text}history: 0s\n", encoding="utf-8")
    return str(folder)
