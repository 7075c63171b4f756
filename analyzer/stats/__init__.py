"""Anytime-valid statistics: numbers in, numbers out.

Each module answers one question; none of them knows a file, a clock, a policy or a random number.

==========  ===================================================================
binomial    is the share of events of one arm above or below a limit?
share       is the rate of events of the canary that of the baseline, times a ratio?
means       the same for a mean (revenue, say)
psi         how far apart are two binned distributions?
onset       since when? (evidence since each of many moments)
bursts      as binomial, when a whole minute may be bad by chance
dispersion  how far do requests of the same minute go together?
split       when did the split of the traffic last change, is it as it should be?
search      where does a monotone function cross a line? (shared by the others)
==========  ===================================================================

All evidence is the logarithm of an e-process: a function E of the counts seen so far with E >= 0, E = 1
before the first count and, while the null hypothesis holds, an expectation of at most 1 at any stopping
time. By Ville's inequality P(E ever reaches 1/alpha) <= alpha: that is what makes a verdict right at
every look. Every E here depends on the present counts only, so no state has to be kept between looks.
"""
