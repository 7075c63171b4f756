"""From pydantic's findings to problems that name the field, what is wrong and the remedy."""

from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from analyzer.errors import ConfigError, Problem
from analyzer.quantity import nearest


def problems_of(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[Problem]:
    """Turn everything that pydantic found into problems, in the order of the fields."""
    found = []
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
            case _:
                message = f"{item['msg'][0].lower()}{item['msg'][1:]}"
        found.append(Problem(".".join(filter(None, [prefix, *path])), message))
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping; raises ConfigError naming the file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([Problem("", f"cannot be read: {error}")], str(path)) from error
    if not isinstance(content, dict):
        raise ConfigError([Problem("", f"must be a mapping, got {type(content).__name__}")], str(path))
    return content


def yaml_files(folder: Path) -> list[Path]:
    """List the YAML files of a folder by name; a folder that is not there holds none."""
    return sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])


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
