"""Known traffic: what is sent to each instance in each act, and what must be counted of it."""

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests
from stacks.scoring import ANSWER, FAIL, TAKE_LONG
from stacks.servers import Answer, Features, Server, Stack

CONNECTIONS = 2
PROBES = 7
HEADERS = {"content-type": "application/json", "connection": "close"}
LIKE_THE_PAST = [0.025 + 0.05 * each for each in range(20)]
DRIFTED = [0.675 + 0.05 * each for each in range(6)]
EUROS = 12.5


@dataclass(frozen=True)
class Act:
    """What one instance is sent.

    Attributes
    ----------
    good, slow : requests that are answered, the second ones late
    failed : requests that end in an exception of the model
    scores : what the model says, over and over
    orders, paid : requests that the application sends, and how many of them lead to a conversion
    """

    good: int
    failed: int = 0
    slow: int = 0
    scores: Sequence[float] = tuple(LIKE_THE_PAST)
    orders: int = 0
    paid: int = 0

    def score(self, number: int) -> float:
        """What the model says to the request of a number, of each sort; neighbours differ, for bursts count less."""
        return self.scores[7 * number % len(self.scores)]

    @property
    def requests(self) -> int:
        """All of them."""
        return self.good + self.failed + self.slow + self.orders

    @property
    def predicted(self) -> list[float]:
        """Every score that the model gave."""
        return [self.score(each) for sort in (self.good, self.slow, self.orders) for each in range(sort)]


# The baseline was there before the canary, whose first request begins the window.
PAST = Act(good=60, orders=20, paid=1)
HEALTHY = {"canary": Act(good=480, orders=20, paid=8), "baseline": Act(good=400, orders=20, paid=4)}
FAULTY = {
    "canary": Act(good=120, failed=10, slow=12, scores=tuple(DRIFTED), orders=20, paid=2),
    "baseline": Act(good=200, orders=20, paid=4),
}


def send(stack: Stack, server: Server, act: Act) -> None:
    """Send the quick requests of one instance, and probes after them."""
    calls = [([ANSWER, act.score(each)], 200) for each in range(act.good)] + [([FAIL, 0.5], 500)] * act.failed
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda call: _ask(stack, server, *call), calls))
    for path in stack.probes * PROBES:
        requests.get(server.url + path, timeout=5)


def send_slow(stack: Stack, server: Server, act: Act) -> None:
    """Send the slow requests one by one: some servers answer nobody else meanwhile, who would be slow as well."""
    for each in range(act.slow):
        _ask(stack, server, [TAKE_LONG, act.score(each)], 200)


def _ask(stack: Stack, server: Server, features: Features, status: int) -> None:
    # A connection of its own: a server may close one that it kept open just as the next request is on its way.
    with closing(HTTPConnection("127.0.0.1", server.ports["http"], timeout=20)) as connection:
        connection.request("POST", stack.path, json.dumps(stack.body(features)), HEADERS)
        response = connection.getresponse()
        answer = Answer(response.headers, response.read())
    assert response.status == status, (stack.profile, features, response.status, answer.body)
    if status == 200:
        assert stack.version(answer) == server.name, (stack.profile, answer)


class Router:
    """Sends what the application asks to one of the versions, as a service mesh would."""

    def __init__(self) -> None:
        self.to = ""
        router = self

        class Handler(BaseHTTPRequestHandler):
            """Forwards a request."""

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = requests.post(router.to, data=body, headers={"content-type": "application/json"}, timeout=10)
                self.send_response(answer.status_code)
                for name in ("content-type", "x-model-version"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


def shop(application: Server, router: Router, stack: Stack, server: Server, act: Act) -> None:
    """Order by the application, each customer with cookies of his own, and pay for some of the orders."""
    router.to = server.url + stack.path
    for number in range(act.orders):
        with requests.Session() as customer:
            answer = customer.post(
                f"{application.url}/orders", json=stack.body([ANSWER, act.score(number)]), timeout=10
            )
            assert answer.status_code == 200, answer.text
            if number < act.paid:
                paid = customer.post(f"{application.url}/payments", json={"euros": EUROS}, timeout=10)
                assert paid.status_code == 204, paid.text
