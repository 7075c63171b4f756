"""Scenarios of `make chaos` in which files change while the service runs: certificates, mounted ConfigMaps."""

import json
import ssl
import subprocess
import time
from pathlib import Path

from chaos.scenarios import FAIL, INCONCLUSIVE, PASS, RECOVERED, Row, both, every, kept, repeating
from chaos.stage import Stage, Watch, ask, until
from sources.hostile import HostileServer

POLICY = "name: mine\nchecks:\n  error_rate: {{kind: error_rate, promote: {0}, rollback: {0}}}\n"


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make an authority, and a certificate of localhost that it has signed; return its file, and that of the server."""
    new = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    own = ["-keyout", f"{name}-ca.key", "-out", f"{name}-ca.pem", "-subj", f"/CN={name}"]
    signed = ["-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", "/CN=localhost", "-CA", f"{name}-ca.pem"]
    signed += ["-CAkey", f"{name}-ca.key", "-addext", "subjectAltName=DNS:localhost"]
    signed += ["-addext", "basicConstraints=critical,CA:FALSE"]
    for words in ([*own, "-addext", "keyUsage=critical,keyCertSign"], signed):
        subprocess.run([*new, *words], cwd=folder, check=True, capture_output=True)
    both_parts = folder / f"{name}.both"
    both_parts.write_bytes((folder / f"{name}.crt").read_bytes() + (folder / f"{name}.key").read_bytes())
    return folder / f"{name}-ca.pem", both_parts


def rotated_certificates(stage: Stage, short: bool) -> Row:
    """The source's certificate and its authority change: no verdict until the CA file follows, none is false."""
    folder, back, responses = stage.folder / "certificates", [], []
    folder.mkdir()
    pairs = [certificate(folder, f"authority-{number}") for number in range(2 if short else 5)]
    trusted = folder / "trusted.pem"
    trusted.write_bytes(pairs[0][0].read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pairs[0][1])
    source = HostileServer([stage.source._answer], tls=context)
    source.start()
    settings = {"ANALYZER_PROMETHEUS_URL": source.url, "ANALYZER_PROMETHEUS_CA_FILE": str(trusted)}
    service = stage.another("certificates-service", settings)
    try:
        with service.running(), Watch(service.port).on() as watch:
            responses += [ask(service.port, "bad")]
            held = kept(responses, FAIL)
            for authority, server in pairs[1:]:
                context.load_cert_chain(server)
                early = every(0.1, 3, lambda: ask(service.port, "bad"))
                trusted.write_bytes(authority.read_bytes())
                back.append(until(lambda: both(service.port)))
                late = every(0.1, 3, lambda: ask(service.port, "bad"))
                held += kept(early, INCONCLUSIVE) + kept(late, FAIL)
                responses += early + late
    finally:
        source.stop()
    notes = f"{len(back)} times; well {max(back):.1f} s after the CA file"
    row = Row(len(responses), held, notes, watch.slowest)
    row.broken += [f"recovery took {max(back):.1f} s"] * (max(back) > RECOVERED)
    row.broken += ["a traceback"] * ("Traceback" in service.log)
    return row


def changed_policies(stage: Stage, short: bool) -> Row:
    """A mounted policy changes as the kubelet does it: a valid one is taken, an invalid one is logged and not."""
    folder = stage.folder / "config" / "policies"
    folder.mkdir(parents=True)

    def mount(version: int, limit: str) -> None:
        (folder / f"..{version}").mkdir()
        (folder / f"..{version}" / "mine.yaml").write_text(POLICY.format(limit))
        (folder / "..data_tmp").symlink_to(f"..{version}")
        (folder / "..data_tmp").replace(folder / "..data")

    mount(0, "0.5%")
    (folder / "mine.yaml").symlink_to("..data/mine.yaml")
    service = stage.another("config-service", {"ANALYZER_CONFIG_DIR": str(folder.parent)})
    changes = [("90%", PASS), ("none", PASS), ("0.5%", FAIL), ("", FAIL)] * (1 if short else 5)
    responses, held = [], 0
    with service.running(), Watch(service.port).on() as watch:
        with repeating(4, lambda _: ask(service.port, "bad", policy="mine"), 0.05) as during:
            for version, (limit, verdict) in enumerate(changes, start=1):
                mount(version, limit)
                time.sleep(3.0)
                late = every(0.1, 3, lambda: ask(service.port, "bad", policy="mine"))
                responses += late
                held += kept(late, verdict)
        events = [json.loads(line)["event"] for line in service.log.splitlines() if line.startswith("{")]
    refused, loaded = events.count("config_refused"), events.count("config_loaded")
    notes = f"{len(changes)} changes: {loaded} read, {refused} refused"
    row = Row(len(responses) + len(during), held + kept(list(during), PASS, FAIL), notes, watch.slowest)
    row.broken += [f"{refused} invalid files were named"] * (refused != len(changes) // 2)
    row.broken += ["a traceback"] * ("Traceback" in service.log)
    return row


ROTATIONS = {"rotated-certificates": rotated_certificates, "changed-policies": changed_policies}
