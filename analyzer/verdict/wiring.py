"""From settings to an analyzer: the policies and profiles loaded, the source connected."""

from analyzer.config.policy import Policy, load_policies
from analyzer.config.profile import Profile, load_profiles
from analyzer.config.settings import PREFIX, Identity, Settings, SourceName
from analyzer.errors import ConfigError, Problem
from analyzer.quantity import nearest
from analyzer.sources import authorization
from analyzer.sources.authorization import Authorize
from analyzer.sources.http import Observer, ignore
from analyzer.verdict.analysis import Analyzer, Source


def build_analyzer(settings: Settings, observe: Observer = ignore, *, patience: float = 0.0) -> Analyzer:
    """Load policies and profiles and connect the source.

    Parameters
    ----------
    settings : of the service
    observe : is told of every request to the source
    patience : how many seconds a query, and all of them together, may take at least, for long windows of the past

    Raises
    ------
    ConfigError : a policy or profile is wrong, or a default names one that is not there
    """
    policies, profiles = load_config(settings)
    return Analyzer(
        policies=policies,
        profiles=profiles,
        source=_source(settings, observe, patience),
        default_policy=settings.policy,
        default_profile=settings.profile,
        deadline_seconds=max(patience, settings.deadline),
    )


def load_config(settings: Settings) -> tuple[dict[str, Policy], dict[str, Profile]]:
    """Load policies and profiles, packaged and mounted, by name; raises ConfigError as `build_analyzer`."""
    folder = settings.config_dir
    policies = load_policies(folder / "policies" if folder else None)
    profiles = load_profiles(folder / "profiles" if folder else None)
    for field, name, loaded in (("POLICY", settings.policy, policies), ("PROFILE", settings.profile, profiles)):
        if name not in loaded:
            raise ConfigError(
                [Problem(f"{PREFIX}{field}", f"no {field.lower()} named {name!r}; {nearest(name, loaded)}")]
            )
    return policies, profiles


def _source(settings: Settings, observe: Observer, patience: float) -> Source:
    if settings.source is SourceName.SCRAPE:
        from analyzer.sources.scrape import ScrapeSource  # noqa: PLC0415 - only what is used is loaded

        return ScrapeSource(settings.scrape_targets, most_bytes=settings.scrape_max_page, observe=observe)
    from analyzer.sources.prometheus import PrometheusSource  # noqa: PLC0415
    from analyzer.sources.prometheus_api import Connection, PrometheusApi  # noqa: PLC0415

    connection = Connection(
        url=settings.prometheus_url,
        method=settings.prometheus_method.value,
        timeout=max(patience, settings.prometheus_timeout),
        authorize=_authorize(settings),
        ca_file=settings.prometheus_ca_file,
        cert_file=settings.prometheus_cert_file,
        key_file=settings.prometheus_key_file,
        headers=settings.prometheus_headers,
        parameters=settings.prometheus_parameters,
        most_values=5 * settings.prometheus_max_samples,  # an answer holds the labels of its series, too
    )
    return PrometheusSource(
        PrometheusApi(connection, observe=observe),
        lookback=settings.prometheus_lookback,
        most_values=settings.prometheus_max_samples,
    )


def _authorize(settings: Settings) -> Authorize:
    if settings.prometheus_auth is Identity.AWS:
        return authorization.amazon(settings.prometheus_url)
    if settings.prometheus_auth is Identity.GOOGLE:
        return authorization.google()
    if settings.prometheus_token_file:
        return authorization.bearer(settings.prometheus_token_file)
    if settings.prometheus_username:
        return authorization.basic(settings.prometheus_username, settings.prometheus_password_file)
    return authorization.nobody
