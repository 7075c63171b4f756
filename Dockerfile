# The image of the analyzer: one virtual environment on a base that has Python 3.11 or later with the module venv.
#
#   docker build -t rollout-analyzer:0.1.0 .
#
# Where no registry is in reach, any Debian with python3 and python3-venv will do: --build-arg BASE=…
# A package index or a certificate authority of one's own comes by secrets, which no layer and no history records:
#   --secret id=pip.conf,src=/etc/pip.conf --secret id=ca-certificates.crt,src=/etc/ssl/certs/ca-certificates.crt
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS builder

# /opt/pip does the work and stays behind; /opt/analyzer never holds a pip. The path is that of the final image, for
# the scripts of a virtual environment begin with it.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/analyzer
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /build
COPY requirements.lock ./
# Wheels only: a source distribution would run code of its own and need a compiler, which is not here.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-certificates.crt,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/pip/bin/pip --python /opt/analyzer/bin/python install \
        --require-hashes --only-binary :all: --no-compile -r requirements.lock

# The build backend, with the versions and hashes that the tests' lock has for it; they stay behind too.
COPY tests/requirements.lock backend.lock
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-certificates.crt,target=/etc/ssl/certs/ca-certificates.crt \
    awk '/^[a-z]/ {keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/} keep' \
        backend.lock > backend.txt \
    && /opt/pip/bin/pip install --require-hashes --only-binary :all: -r backend.txt

COPY pyproject.toml README.md ./
COPY analyzer analyzer
# Nothing is fetched from here on. `check` fails where requirements.lock is behind pyproject.toml.
RUN /opt/pip/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/pip/bin/pip --python /opt/analyzer/bin/python install --no-index --no-deps --no-compile dist/*.whl \
    && /opt/pip/bin/pip --python /opt/analyzer/bin/python check
# A seventh of numpy and scipy are their tests. Compiled here, for a read-only root cannot keep what Python
# compiles at start; unchecked, for the usual check compares times, which a copy or a registry may change.
RUN find /opt/analyzer/lib -depth -type d -name tests -exec rm -r {} + \
    && /opt/analyzer/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/analyzer/lib


FROM ${BASE}

COPY --from=builder /opt/analyzer /opt/analyzer
# All of PATH is spelled out, for a base made by hand may set none.
ENV PATH=/opt/analyzer/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1
# Import every module once: it proves the image whole, and compiles what is used of the standard library, which the
# official Python images leave uncompiled. So PYTHONDONTWRITEBYTECODE comes after it.
RUN ["python", "-c", "import importlib, os, pkgutil, tempfile, analyzer, gunicorn.workers.gthread\nwith tempfile.TemporaryDirectory() as os.environ['MPLCONFIGDIR']:\n    for module in pkgutil.walk_packages(analyzer.__path__, 'analyzer.'):\n        if module.name != 'analyzer.__main__' and not module.name.startswith('analyzer.demo'): importlib.import_module(module.name)"]
# The list of fonts for the plots of reports goes where the pod may write.
ENV PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp/matplotlib

# A number, for Kubernetes' runAsNonRoot cannot look up names; the one that distroless images call nonroot. Nothing
# in the image belongs to it.
USER 65532:65532

EXPOSE 8080
# For Docker and Podman; Kubernetes asks by its own probes. Not urllib, which would follow http_proxy even to the
# loopback interface; -IS: without site-packages Python starts in half the time. Another --port needs another check.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-IS", "-c", "import http.client; asked = http.client.HTTPConnection('127.0.0.1', 8080, timeout=4); asked.request('GET', '/healthz'); raise SystemExit(asked.getresponse().status != 200)"]

ENTRYPOINT ["analyzer"]
# Without it the service would listen on 127.0.0.1, where nobody outside the container can ask.
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]

# Last, so that another version changes no layer above.
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="rollout-analyzer" \
      org.opencontainers.image.description="Is the canary model healthy? Verdicts for Argo Rollouts that are right at every look." \
      org.opencontainers.image.version="${VERSION}"
