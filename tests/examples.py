"""How many examples hypothesis draws: few and always the same, or in CI many and others in each run.

HYPOTHESIS_PROFILE=ci chooses the second; pytest prints the seed in its last lines.
"""

import os

from hypothesis import settings

CI_EXAMPLES = 200

settings.register_profile("quick", deadline=None, derandomize=True, max_examples=30)
settings.register_profile("ci", deadline=None, database=None, max_examples=CI_EXAMPLES, print_blob=True)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")


def examples(quick: int) -> settings:
    """Draw this many examples in the quick profile, and at least those of the profile in CI."""
    return settings(max_examples=max(quick, CI_EXAMPLES) if PROFILE == "ci" else quick)
