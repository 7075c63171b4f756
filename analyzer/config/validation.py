"""From pydantic's findings to problems that name the field, what is wrong and the remedy."""

from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError, model_validator

from analyzer.errors import ConfigError, Problem
from analyzer.quantity import nearest
from analyzer.version import __version__

M = TypeVar("M", bound="NamedModel")
SCHEMA = 1  # of policies and profiles; raised only when a file of the version before would be read wrongly
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # with libyaml in an eighth of the time: it is part of the start


def problems_of(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[Problem]:
    """Turn everything that pydantic found into problems, in the order of the fields."""
    problems = []
    for item in error.errors(include_url=False):
        path = [str(part) for part in item["loc"]]
        context = item.get("ctx", {})
        match item["type"]:
            case "extra_forbidden":
                owner = _model_at(model, path[:-1])
                known = [name for name in owner.model_fields if name != path[-1]]
                message = f"unknown field; {nearest(path[-1], known)}"
            case "missing":
                message = "is required"
            case "enum":
                message = (
                    f"unknown value {str(item['input'])[:40]!r}; {nearest(str(item['input']), _enum_values(context))}"
                )
            case "value_error":
                message = str(context["error"])
                # A rule over several fields names its own in front of the message.
                names, separator, rest = message.partition(": ")
                if separator and set(names.split(", ")) <= set(_model_at(model, path).model_fields):
                    path, message = [*path, names], rest
            case _:
                message = f"{item['msg'][0].lower()}{item['msg'][1:]}"
        problems.append(Problem(".".join(filter(None, [prefix, *path])), message))
    return problems


class NamedModel(BaseModel):
    """A file that is loaded by its name; `schema`, the version of its format, may be left out."""

    name: str

    @model_validator(mode="before")
    @classmethod
    def _known_schema(cls, content: Any) -> Any:
        """Accept the version of the format that is known here, and refuse all others."""
        if not isinstance(content, dict) or "schema" not in content:
            return content
        version = content["schema"]
        if version != SCHEMA or isinstance(version, bool):
            raise ValueError(
                f"schema: {str(version)[:40]} is not known to version {__version__} of the analyzer: write schema: "
                f"{SCHEMA}, or use the version of the analyzer that the file was written for"
            )
        return {key: value for key, value in content.items() if key != "schema"}


def load_named(model: type[M], packaged: Path, mounted: Path | None) -> dict[str, M]:
    """Read every YAML file of the packaged folder, and of a mounted one, which may replace packaged ones by name.

    Raises
    ------
    ConfigError : naming the file, the key and the remedy
    """
    loaded: dict[str, M] = {}
    for folder in filter(None, (packaged, mounted)):
        files: dict[str, Path] = {}
        for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
            document = _read(model, path)
            if document.name in files:
                first = f"{document.name!r} is the name of {files[document.name].name} too; give each its own"
                raise ConfigError([Problem("name", first)], str(path))
            files[document.name], loaded[document.name] = path, document
    return loaded


def _read(model: type[M], path: Path) -> M:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506 - both are safe
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([Problem("", f"cannot be read: {error}")], str(path)) from error
    if not isinstance(content, dict):
        raise ConfigError([Problem("", f"must be a mapping, got {type(content).__name__}")], str(path))
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError(problems_of(error, model), str(path)) from error


def _model_at(model: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """Find the model that a path of field names, keys and indices leads to."""
    current = model
    for part in path:
        if part in current.model_fields:
            current = next(_models_in(current.model_fields[part].annotation), current)
    return current


def _models_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _enum_values(context: dict[str, Any]) -> list[str]:
    text = str(context.get("expected", ""))
    return [word.strip(" '") for word in text.replace(" or ", ",").split(",")]
