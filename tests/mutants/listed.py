"""The faults: a line each, in the places that decide verdicts, with the tests that must notice."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes
    ----------
    file, old, new : what is replaced; `old` is there once
    tests : files that must notice, separated by blanks
    equivalent : why no test can, if so
    """

    file: str
    old: str
    new: str
    tests: str
    equivalent: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.old!r} -> {self.new!r}"


def _of(file: str, tests: str, *faults: tuple[str, str]) -> list[Mutant]:
    return [Mutant(file, old, new, tests) for old, new in faults]


MUTANTS = [
    *_of(
        "analyzer/stats/binomial.py", "tests/stats/test_binomial.py",
        ("np.minimum(2 * p0, (1 + p0) / 2) if", "np.minimum(4 * p0, (1 + p0) / 2) if"),
        ("prior = -np.log(b) + (log_above", "prior = (log_above"),
        ("won, lost = 1 + seen, b + (total - seen)", "won, lost = 2 + seen, b + (total - seen)"),
        ("tail = betaincc if side", "tail = betainc if side"),
        ('{"above": np.log(alpha_low), "below": np.log(alpha_high)}', '{"above": np.log(alpha_high), "below": np.log(alpha_low)}'),
        ("np.where(seen > 0, low, 0.0)", "np.where(seen > 1, low, 0.0)"),
    ),
    *_of(
        "analyzer/stats/binomial.py", "tests/stats/test_binomial.py tests/checks/test_decide_sooner.py",
        ("LEARNED = 0.5 ", "LEARNED = 0.95 "),
        ("learned += np.log(LEARNED) - betaln(won, lost)", "learned += np.log(LEARNED) - betaln(won, lost) - np.log(within)"),
        ('past is not None and side == "below"', "past is not None"),
    ),
    *_of(
        "analyzer/stats/induced.py", "tests/stats/test_induced.py",
        ("if _tail(middle, declared, limit, factor) <= level", "if _tail(middle + 1, declared, limit, factor) <= level"),
        ("_tail(least - events, declared - trials", "_tail(least - events, declared"),
        ("math.log(now / rejecting)", "math.log(now / level)"),
    ),
    *_of(
        "analyzer/checks/one_arm.py", "tests/checks/test_decide_sooner.py",
        ("float(sure[:slices].sum())", "float(sure.sum())"),
        ("float(self.factors[0]), FEWEST_BAD)", "1.0, FEWEST_BAD)"),
        ("reading.slice_seconds is None or not requests", "not requests"),
    ),
    *_of(
        "analyzer/planning/ramp.py", "tests/test_ramp.py",
        ("proved_at + (SCRAPE + interval) / 2)", "proved_at)"),
        ("if ramp.seconds <= within]", "if ramp.seconds > 0]"),
    ),
    *_of(
        "analyzer/stats/bursts.py", "tests/stats/test_bursts.py",
        ("return log_mean_exp(np.moveaxis(summed, -2, -1) + LOG_WEIGHTS)", "return log_mean_exp(np.moveaxis(summed, -2, -1) + LOG_WEIGHTS) / 2"),
        ("a, b = strength * share, strength * (1 - share)", "a, b = strength * share, strength"),
        ("LOG_WEIGHTS = np.log(DISTANCES**0.3 / np.mean(DISTANCES**0.3))", "LOG_WEIGHTS = np.log(DISTANCES**0.3)"),
    ),
    *_of(
        "analyzer/stats/overdispersion.py", "tests/stats/test_dispersion.py",
        ("MARGIN = 1.28 ", "MARGIN = 0.0 "),
        ("SIGNIFICANT = 2.5 ", "SIGNIFICANT = 0.025 "),
        ("INCIDENT_SHARE = 0.8 ", "INCIDENT_SHARE = 0.08 "),
        ("else np.concatenate(streams)", "else streams[0]"),
        ("EXTRAPOLATED = 8.0 ", "EXTRAPOLATED = 1.0 "),
    ),
    *_of(
        "analyzer/stats/shared_rate.py", "tests/stats/test_shared_rate.py",
        ("size * batches / float(known.variance.sum())", "0 * batches / float(known.variance.sum())"),
        ("/ lowest - 1, 0.0)", "- 1, 0.0)"),
        ("(varying - clusters) * _lower(np.maximum(independent - 1, 1.0))", "varying - clusters"),
        ("or correlation.lone or", "or"),
        ("statistic += terms[high] - terms[low] - fitted", "statistic += terms[high] - terms[low]"),
    ),
    *_of(
        "analyzer/stats/means.py", "tests/stats/test_means.py",
        ("* count / total**2 - 1, 0.0)", "* count / total**2, 0.0)"),
        ("return 1 - canary_share, canary_share,", "return canary_share, 1 - canary_share,"),
        ("np.log(4 * prior_part) / 2", "np.log(2 * prior_part) / 2"),
        ("z = -z", "z = +z"),
    ),
    *_of(
        "analyzer/stats/onset.py", "tests/stats/test_onset.py",
        ("WHOLE = 0.5 ", "WHOLE = 0.9 "),
        ("MOST_A_OCTAVE = 64", "MOST_A_OCTAVE = 256"),
        ("FIRST_OCTAVE = 3 ", "FIRST_OCTAVE = 0 "),
        ("+ left_out) * units_a_slice", ") * units_a_slice"),
    ),
    *_of(
        "analyzer/stats/psi.py", "tests/stats/test_psi.py tests/stats/test_references.py",
        ("self.raw - self.freedom / self.size", "self.raw"),
        ("PSEUDO_COUNT = 0.5 ", "PSEUDO_COUNT = 0.05 "),
        ("order = freedom / 2 - 1", "order = freedom / 2"),
        ("size = n / (n + m) * m", "size = n + m"),
        ("baseline.sum(axis=1) * odds**2", "baseline.sum(axis=1) * odds"),
    ),
    *_of(
        "analyzer/stats/search.py", "tests/stats/test_search.py",
        ("distance = nearest + np.clip(part, 0.0, 1.0)", "distance = nearest - np.clip(part, 0.0, 1.0)"),
        ("/ terms.shape[-1]) + top", ") + top"),
        ("part = (needed - before) / (after - before) if", "part = 0.0 if"),
    ),
    *_of(
        "analyzer/stats/delays.py", "tests/checks/test_late_events.py",
        ("- float(above.max()),", "- float(above.mean()),"),
        ("AT_ONCE = 1e-4", "AT_ONCE = 0.3"),
    ),
    *_of(
        "analyzer/checks/late_events.py", "tests/checks/test_late_events.py",
        ("due.odds(known.if_above).min(axis=0)", "due.odds(known.if_above).max(axis=0)"),
    ),
    *_of(
        "analyzer/stats/share.py", "tests/stats/test_share.py",
        ("UNEXPECTED = 0.05 ", "UNEXPECTED = 1.0 "),
        ("FEWEST = 10.0 ", "FEWEST = 1.0 "),
        ("self.canary * (1 - canary_share)", "self.canary"),
        ("tilt = np.expm1(steps)[:, np.newaxis] * (expected / (1 + expected))", "tilt = np.expm1(steps)[:, np.newaxis] * expected"),
        ("np.log(weights / weights.mean())", "np.log(weights)"),
    ),
    *_of(
        "analyzer/stats/slice_means.py", "tests/stats/test_slice_means.py tests/checks/test_mean_latency.py",
        ("FEWEST = 100.0 ", "FEWEST = 20.0 "),
        ("MOST_A_BATCH = math.log(2)", "MOST_A_BATCH = 2 * math.log(2)"),
        ('sign = 1.0 if side == "above" else -1.0', "sign = 1.0"),
    ),
    *_of(
        "analyzer/stats/split.py", "tests/stats/test_split.py",
        ("NEEDED = 12.0 ", "NEEDED = 4.0 "),
        ("CLEAR = 3.0 ", "CLEAR = 0.0 "),
        ("LEAST_CHANGE = 1.25 ", "LEAST_CHANGE = 1.001 "),
        ("low, high = odds / tolerance, odds * tolerance", "low, high = odds, odds"),
        ("(scrapes + 1) / np.maximum(scrapes, 1)", "scrapes / np.maximum(scrapes, 1)"),
    ),
    *_of(
        "analyzer/checks/decision.py", "tests/checks/test_decision.py tests/checks/test_remaining.py",
        ("HOLD = 0.5 ", "HOLD = 0.99 "),
        ("LIKELY = 1.5 ", "LIKELY = 4.0 "),
        ("levels = terms.fail * weight * failing.mixture, terms.passing", "levels = terms.fail * failing.mixture, terms.passing"),
        ("enough = requests >= check.min_requests", "enough = True"),
        ("limit = question.rollback if check.rule is Rule.STRICT else question.promote\n    with", "limit = question.promote\n    with"),
        ("and not (settle and suspect)", ""),
        ("least = question.promote, question.better, -math.log(terms.passing), check.min_requests", "least = question.promote, question.better, -math.log(terms.passing), 0.0"),
    ),
    *_of(
        "analyzer/checks/decision.py", "tests/checks/test_shared_trouble.py",
        ("excused = len(pardoned) == len(proved)", "excused = False"),
    ),
    *_of(
        "analyzer/checks/drift.py", "tests/checks/test_drift.py",
        ("PASS_FACTOR = 0.6 ", "PASS_FACTOR = 1.0 "),
        ("FEWEST = 30 ", "FEWEST = 3 "),
    ),
    *_of(
        "analyzer/checks/segments.py", "tests/checks/test_scrapes.py",
        ("EARLY = 120.0 ", "EARLY = 0.0 "),
        ("USUAL = 30.0 ", "USUAL = 300.0 "),
        ("BUSY = 1.25 ", "BUSY = 0.0 "),
    ),
    *_of(
        "analyzer/checks/error_rate.py", "tests/checks/test_error_rate.py",
        ("FAULTY = 2.0 ", "FAULTY = 20.0 "),
        ("other.events * served", "other.events"),
    ),
    *_of(
        "analyzer/checks/one_arm.py", "tests/checks/test_one_arm.py",
        ("FEWEST_BAD = 4.0 ", "FEWEST_BAD = 2.0 "),
        ("SHOWS = 0.05 ", "SHOWS = 1.0 "),
        ("bad = np.maximum(bad - self._worst_batch(events, allowed), 0.0)", "pass"),
        ("np.minimum(evidence, self._in_bursts(events, allowed))", "evidence"),
    ),
    *_of(
        "analyzer/checks/segments.py", "tests/checks/test_segments.py tests/checks/test_remaining.py tests/checks/test_decision.py",
        ("return self.seconds - int(self.starts.slice_indices[start]) * (self.slice_seconds or 0.0)", "return self.seconds"),
        ("return self.begin + slice_index * self.slice_seconds", "return self.begin"),
    ),
    *_of(
        "analyzer/checks/traffic_split.py", "tests/checks/test_traffic_split.py",
        ("SEEN = 2.0", "SEEN = 0.0"),
        ("BROKEN = 0.001 ", "BROKEN = 0.2 "),
        ("<= tolerated:", "<= 10 * tolerated:"),
        ("split.TOLERANCE * blur)", "split.TOLERANCE)"),
    ),
    *_of(
        "analyzer/verdict/judge.py", "tests/verdict/test_judge.py",
        ("Code.INCONSISTENT_DATA, Code.TRAFFIC_SPLIT)", "Code.INCONSISTENT_DATA)"),
        ("waits or finding", "evidence and finding"),
        ("PATIENCE = 4.0 ", "PATIENCE = 400.0 "),
        ("(gates | guardrails).items() if finding.outcome is Outcome.FAIL", "gates.items() if finding.outcome is Outcome.FAIL"),
        ("if policy.role is not Role.ADVISORY else {}", ""),
        ("finding.outcome is not Outcome.PASS]", "finding.outcome is Outcome.FAIL]"),
        ("if finding.code in WITHHELD", "if False"),
    ),
    *_of(
        "analyzer/sources/counters.py", "tests/sources/test_counters.py",
        ("& ~grid.may_fall[:, np.newaxis], last, last - before)", "& ~grid.may_fall[:, np.newaxis], 0.0, last - before)"),
        ("np.where(present & (known | from_zero), grown, 0.0)", "np.where(present & known, grown, 0.0)"),
        ("grown[0] = values[0] if from_zero else 0.0", "grown[0] = values[0]"),
        ("2 * before[fell].sum() >= np.nansum(before)", "before[fell].sum() >= np.nansum(before)"),
        ("restarted |= (values < before) & ~back & (before > 0)", "pass"),
    ),
    *_of(
        "analyzer/sources/http.py", "tests/sources/test_prometheus_api.py",
        ("MOST_BYTES = 32 * 2**20", "MOST_BYTES = 3200 * 2**20"),
        ("if _ends.at is not None:", "if False:"),
    ),
    *_of(
        "analyzer/sources/prometheus_api.py", "tests/sources/test_prometheus_api.py",
        ('error.reason == "timeout" or pause == LAST_TRY', "pause == LAST_TRY"),
        ('envelope.get("warnings") or []', 'envelope.get("warning") or []'),
        ('if envelope.get("isPartial"):', "if False:"),
        ("if 300 <= status < 400:", "if 300 < status < 300:"),
        ("left = min(deadline - time.monotonic(), self._connection.timeout)", "left = self._connection.timeout"),
    ),
    *_of(
        "analyzer/sources/assembly.py", "tests/sources/test_assembly.py tests/sources/test_squares.py",
        ("np.where(np.isinf(edges), 0.0, bounded) ** 2", "np.where(np.isinf(edges), 0.0, bounded / 2) ** 2"),
        ("bounded = np.maximum(np.abs(lower), ", "bounded = np.maximum(0.0, "),
        ("if counts[:, -1].sum() == 0 and not negative:", "if not negative:"),
        ("if counts[:, -1].sum() == 0 and not negative:", "if counts[:, -1].sum() == 0:"),
        ("np.maximum.accumulate(cumulative, axis=1), axis=1, prepend=0.0)", "cumulative, axis=1, prepend=0.0)"),
        ("if part.sum() > whole.sum() * (1 + 1e-9):", "if part.sum() > 2 * whole.sum():"),
    ),
    *_of(
        "analyzer/sources/inline.py", "tests/sources/test_inline.py",
        ("squares * count < total**2 * (1 - 1e-9)", "squares * count < 0"),
        ("if more < fewer:", "if False:"),
        ("if abs(number) > MOST:", "if False:"),
        ("if low == high:", "if False:"),
    ),
    *_of(
        "analyzer/sources/memory.py", "tests/sources/test_scrape.py",
        ("if after.at - before.at <= UNEVEN * apart and ", "if "),
        ("if any((part < 0).any() for name, part in parts.items() if name not in may_fall):", "if False:"),
        ('may_fall = ("total",) if isinstance(after, Values) else ()', "may_fall = ()"),
    ),
    *_of(
        "analyzer/sources/native.py", "tests/sources/test_native.py",
        ("new_arms=frozenset(arms[:1] if since_start else ())", "new_arms=frozenset()"),
        ("if len(_widths(bounds)) > 1:", "if False:"),
        ("if len(_widths(bounds for bounds, _ in by_bounds)) > 1:", "if False:"),
        ("(series.times[last] > begins + 1e-6)", "True"),
        ("    samples.zoom(settled, (0, settled.timeline.slices - 1), series)", "    pass"),
    ),
    *_of(
        "analyzer/sources/slicing.py", "tests/sources/test_slicing.py",
        ("count = max(1, math.ceil(apart / timeline.step - 1e-6))", "count = 1"),
        ("del left[largest]\n            most_slices = self.slices", "del left[largest]"),
    ),
]  # fmt: skip
