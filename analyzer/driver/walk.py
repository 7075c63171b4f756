"""The walk: one turn reads the resource and does at most one thing, so that it may be killed after any of them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

import jsonpatch

from analyzer.driver.alerts import Alert, Alerts
from analyzer.driver.cluster import Changed, Cluster, Denied, Missing, Unreachable
from analyzer.driver.judges import Judge, Opinion, Says
from analyzer.driver.resource import Object, Patch, Refused, Split, Stack, guarded, last_changed, last_changed_by


class Ending(IntEnum):
    """How a rollout ends: the exit code."""

    PROMOTED = 0
    ROLLED_BACK = 1
    REFUSED = 2
    HELD = 3
    UNAVAILABLE = 4


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes
    ----------
    steps : weights in percent, ascending; the last is 100
    model : address of the new model; None: it is in the resource already
    again : start again with a canary that was rolled back or moved by somebody else
    ready_seconds : how long the resource may take to do what it was asked
    away_seconds : how long the API server, or the analyzer at the start, may be unavailable
    poll_seconds : between two turns
    """

    steps: tuple[int, ...]
    model: str | None = None
    again: bool = False
    ready_seconds: float = 600.0
    away_seconds: float = 300.0
    poll_seconds: float = 2.0

    def after(self, weight: int) -> int:
        """Return the step after a weight."""
        return next(step for step in self.steps if step > weight)

    def role(self, weight: int) -> str:
        """Ask for proof before the last step; before, that nothing is proved bad."""
        return "gate" if self.after(weight) == self.steps[-1] else "guardrail"


@dataclass
class Walk:
    """Walks one resource; `say` gets each line for people."""

    stack: Stack
    cluster: Cluster
    name: str
    plan: Plan
    judge: Judge
    notices: Alerts
    say: Callable[[str], None]
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    _expected: int | None = None  # the generation that the driver has made
    _opinion: Opinion | None = None
    _last_text: str = ""
    _stuck_since: float | None = None
    _last: Object | None = None  # the resource as it was read last
    _begun: bool = False

    def run(self) -> Ending:
        """Take turns until it ends."""
        while True:
            ending = None
            try:
                ending = self.turn()
                self._stuck_since = None
            except (Unreachable, Denied) as error:
                if not self._begun and isinstance(error, Denied):
                    raise
                self._tell(f"{error}; trying again")
                ending = self._stuck(str(error))
            if ending is not None:
                return ending
            self.sleep(self.plan.poll_seconds)

    def preview(self) -> Iterator[tuple[str, Patch]]:
        """Yield every patch that a good canary would get from here on, and the one that rolls back a bad one."""
        resource = self.cluster.get(self.stack.kind, self.name)
        split, (ours, _) = self.stack.read(resource), last_changed(resource)
        if begin := self._beginning(resource, split, ours=ours):
            yield f"weight {self.plan.steps[0]}%", guarded(resource, begin)
            resource = jsonpatch.apply_patch(resource, begin)
        weight = self.plan.steps[0] if begin else split.weight
        if not weight or (split.promoted and not begin):
            return
        back = guarded(resource, self.stack.move(resource, 0))
        for step in [step for step in self.plan.steps if step > weight]:
            last = step == self.plan.steps[-1]
            patch = self.stack.promote(resource) if last else self.stack.move(resource, step)
            resource["metadata"]["generation"] += 1
            yield f"weight {step}%, once it is proved good", guarded(resource, patch)
            resource = jsonpatch.apply_patch(resource, patch)
        yield "weight 0%, whenever it is proved bad", back

    def _stuck(self, text: str) -> Ending | None:
        """Stop when the API server, or the analyzer, has not answered for too long."""
        self._stuck_since = self._stuck_since or self.clock()
        if self.clock() - self._stuck_since <= self.plan.away_seconds:
            return None
        if self._last is not None:
            self._hold(self._last, f"given up after {self.plan.away_seconds:g} s: {text}", self._opinion)
        return Ending.UNAVAILABLE

    def turn(self) -> Ending | None:
        """Read the resource, and do what comes next; None: there is more to do."""
        try:
            resource = self.cluster.get(self.stack.kind, self.name)
        except Missing:
            if self._begun:
                return self._refuse(None, f"{self.stack.kind} {self.name} was deleted")
            raise
        self._last = resource
        try:
            return self._act(resource)
        except Changed:
            return None  # somebody was quicker: read again
        except Refused as error:
            return self._refuse(resource, str(error))

    def _act(self, resource: Object) -> Ending | None:
        split = self.stack.read(resource)
        generation = resource["metadata"]["generation"]
        # Another one is another driver's work, or our own whose answer was lost; or else somebody's.
        moved = self._expected not in (None, generation)
        ours, since = last_changed(resource, surely=moved)
        if not self._begun:
            if begin := self._beginning(resource, split, ours=ours):
                weight = self.plan.steps[0]
                self.judge.prepare(resource, self.plan.role(weight))
                self._patch(resource, begin, f"weight {weight}%" + (f", {self.plan.model}" if self.plan.model else ""))
                self._begun = True
                return None
            self._begun = True
        if since is None or not (ours or self._expected == generation):
            raise Refused(
                f"{last_changed_by(resource)} modified the spec during the rollout: check it, "
                "and call again with --again to start again from the first step"
            )
        if moved:
            self._expected = generation
        if split.promoted:
            return self._promoted(resource, split, since)
        if split.weight is None:
            raise Refused("there is no canary any more")
        if split.weight == 0:
            return self._rolled_back(resource, split, since)
        return self._judge(resource, split, split.weight, since)

    def _beginning(self, resource: Object, split: Split, *, ours: bool) -> Patch | None:
        """Return the patch of the first step; None: the rollout is under way."""
        model, first = self.plan.model, self.plan.steps[0]
        if model is not None and not self.stack.has(resource, model):
            if split.weight not in (None, 0) and not split.promoted and not self.plan.again:
                raise Refused("another canary is on its way: end that one first, or call with --again")
            return self.stack.begin(resource, model, first)
        if ours and not self.plan.again:
            return None
        if (split.weight is not None and split.promoted) or (model is not None and split.weight is None):
            raise Refused("the newest version gets all requests already, without a verdict: nothing to roll out")
        if split.weight is not None and split.weight > first and not self.plan.again:
            raise Refused(
                f"the canary gets {split.weight}% already, which {last_changed_by(resource)} has set: set it to 0, or "
                "call with --again to start again from the first step"
            )
        return self.stack.begin(resource, None, first)

    def _judge(self, resource: Object, split: Split, weight: int, since: float) -> Ending | None:
        if split.waiting:
            if self.clock() - since > self.plan.ready_seconds:
                return self._hold(resource, f"at {weight}% for {self.plan.ready_seconds:g} s: {split.waiting}", None)
            self._tell(f"{weight}%: waiting: {split.waiting}")
            return None
        opinion = self.judge.ask(resource, split, self.plan.role(weight), since)
        match opinion.says:
            case Says.PENDING:
                self._tell(f"{weight}%: {opinion.reason or 'judging'}")
            case Says.GOOD:
                self._advance(resource, weight, opinion)
            case Says.BAD:
                self._opinion = opinion
                self._patch(resource, self.stack.move(resource, 0), f"weight 0%: {opinion.reason}")
            case Says.HOLD:
                return self._hold(resource, f"held at {weight}%: {opinion.reason}", opinion)
            case Says.UNAVAILABLE:
                self._hold(resource, f"held at {weight}%: {opinion.reason}", opinion)
                return Ending.UNAVAILABLE
        return None

    def _advance(self, resource: Object, weight: int, opinion: Opinion) -> None:
        following = self.plan.after(weight)
        last = following == self.plan.steps[-1]
        patch = self.stack.promote(resource) if last else self.stack.move(resource, following)
        changed = self._patch(resource, patch, f"weight {following}%: {opinion.reason}")
        self._notify(changed, Alert("WeightMoved", f"from {weight}% to {following}%: {opinion.reason}"), opinion)

    def _promoted(self, resource: Object, split: Split, since: float) -> Ending | None:
        if split.waiting:
            if self.clock() - since > self.plan.ready_seconds:
                return self._hold(resource, f"promoted, but {split.waiting}", None)
            self._tell(f"100%: waiting: {split.waiting}")
            return None
        self._tell("promoted")
        self._notify(resource, Alert("Promoted", "the canary was proved good and gets all requests"))
        return Ending.PROMOTED

    def _rolled_back(self, resource: Object, split: Split, since: float) -> Ending | None:
        if self._opinion is None:
            self._opinion = self.judge.verdict_on(resource)
        reason = self._opinion.reason if self._opinion else "a verdict of an earlier call"
        text = f"rolled back: {reason}. {self.stack.after_rollback(resource)}"
        self._notify(resource, Alert("RolledBack", text, alert=True), self._opinion)
        if split.waiting and self.clock() - since < self.plan.ready_seconds:
            self._tell(f"0%: waiting: {split.waiting}")
            return None
        self._tell(text)
        return Ending.ROLLED_BACK

    def _hold(self, resource: Object, text: str, opinion: Opinion | None) -> Ending:
        text += ". Call again to go on from here"
        self._tell(text)
        self._notify(resource, Alert("Held", text, alert=True), opinion)
        return Ending.HELD

    def _refuse(self, resource: Object | None, text: str) -> Ending:
        self._tell(text)
        if resource is not None and self._expected is not None:
            self._notify(resource, Alert("Refused", text, alert=True))
        return Ending.REFUSED

    def _patch(self, resource: Object, patch: Patch, text: str) -> Object:
        self._expected = None  # where the answer is lost, managedFields tell whether it was done
        changed = self.cluster.patch(self.stack.kind, self.name, guarded(resource, patch))
        self._expected = changed["metadata"]["generation"]
        self._tell(text)
        return changed

    def _notify(self, resource: Object, notice: Alert, opinion: Opinion | None = None) -> None:
        if wrong := self.notices.tell(resource, notice, opinion):
            self._tell(wrong)

    def _tell(self, text: str) -> None:
        if text != self._last_text:
            self.say(text)
            self._last_text = text
