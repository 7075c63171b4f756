"""Ports for servers that tests start."""

import random
import socket

PORTS = range(15_000, 32_000)  # below those of outgoing connections, which could take one before its server does
ATTEMPTS = 100


def free_port() -> int:
    """Find a port of the loopback interface that nobody listens on."""
    draw = random.SystemRandom()  # not the seeded one, with which tests that run side by side would draw the same
    for _ in range(ATTEMPTS):
        port = draw.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("no port is free")
