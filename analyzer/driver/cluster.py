"""The Kubernetes API, as far as the driver needs it: a few verbs on objects as JSON."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from lightkube import ApiError, Client, KubeConfig
from lightkube.core.exceptions import ConfigError as NoConfig
from lightkube.generic_resource import GenericGlobalResource
from lightkube.generic_resource import create_global_resource as global_resource
from lightkube.generic_resource import create_namespaced_resource as namespaced_resource
from lightkube.resources.core_v1 import Event
from lightkube.types import PatchType

from analyzer.driver.resource import MANAGER, Object, Patch, ResourceKind
from analyzer.errors import AnalyzerError

TIMEOUT_SECONDS = 10.0


class Unreachable(AnalyzerError):
    """The API server gave no answer, or none that says anything; it may be tried again."""


class Denied(AnalyzerError):
    """The API server will not do it."""


class Missing(Denied):
    """There is no such object, or no such kind."""


class Changed(Denied):
    """The object is no longer what the change was made for, or there already."""


class Cluster:
    """A client, in a namespace; raises `Unreachable` and `Denied`."""

    def __init__(self, namespace: str | None = None, context: str | None = None) -> None:
        """Connect as kubectl does: by the kubeconfig, or as the pod's service account."""
        try:
            config = KubeConfig.from_env().get(context_name=context)
            timeout = httpx2.Timeout(TIMEOUT_SECONDS)
            self._client = Client(config=config, namespace=namespace, timeout=timeout, field_manager=MANAGER)
        except NoConfig as error:
            raise AnalyzerError(f"no cluster to talk to: {error}; set KUBECONFIG, or run in a pod") from error
        self.namespace = self._client.namespace

    def get(self, kind: ResourceKind, name: str, *, everywhere: bool = False) -> Object:
        """Read an object of the namespace, or a cluster-wide one."""
        with _classified_errors(f"{kind} {name}" + ("" if everywhere else f" in namespace {self.namespace}")):
            return _plain(self._client.get(_global(kind) if everywhere else _namespaced(kind), name))

    def find(self, kind: ResourceKind, labels: dict[str, str]) -> list[Object]:
        """Read the objects with these labels."""
        with _classified_errors(str(kind)):
            return [_plain(item) for item in self._client.list(_namespaced(kind), labels=dict(labels))]

    def create(self, kind: ResourceKind, content: Object, *, dry_run: bool = False) -> Object:
        """Create an object, or only see whether one may; `Changed` where there is one of that name."""
        with _classified_errors(f"{kind} {content['metadata'].get('name', '')}"):
            resource = _namespaced(kind)
            made = self._client.create(resource.from_dict(content), namespace=self.namespace, dry_run=dry_run)
            return _plain(made)

    def patch(self, kind: ResourceKind, name: str, operations: Patch) -> Object:
        """Change an object; `Changed` where a test among the operations is not met."""
        with _classified_errors(f"{kind} {name}"):
            return _plain(self._client.patch(_namespaced(kind), name, operations, patch_type=PatchType.JSON))


def _plain(item: Any) -> Object:
    plain: Object = item.to_dict()
    return plain


@contextmanager
def _classified_errors(what: str) -> Iterator[None]:
    """Classify errors: may be retried, must be read again, will not work."""
    try:
        yield
    except ApiError as error:
        status = error.status
        text, code = status.message or str(error), status.code or error.response.status_code
        if code == 404:
            raise Missing(f"{what}: {text}") from error
        # A test of a JSON patch that is not met is 422, as is a specification that the definition refuses: that one
        # names the kind.
        if code == 409 or (code == 422 and not (status.details and status.details.kind)):
            raise Changed(f"{what}: {text}") from error
        if code in (429, 500, 502, 503, 504):
            raise Unreachable(f"{what}: {text}") from error
        raise Denied(f"{what}: {text}") from error
    except httpx2.HTTPStatusError as error:  # an answer that is none of the API server's
        raise Unreachable(f"{what}: HTTP {error.response.status_code}") from error
    except httpx2.HTTPError as error:
        raise Unreachable(f"{what}: {type(error).__name__}: {error}") from error


def _namespaced(kind: ResourceKind) -> type[Any]:
    if kind.name == "Event":  # the client knows those of Kubernetes itself
        return Event
    return namespaced_resource(kind.group, kind.version, kind.name, kind.plural)


def _global(kind: ResourceKind) -> type[GenericGlobalResource]:
    return global_resource(kind.group, kind.version, kind.name, kind.plural)
