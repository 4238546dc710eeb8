"""What every settings object shares: frozen, strict, and answered in plain words when it is wrong."""

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError

from orchestrion.errors import UserError
from orchestrion.files import read_json


class Settings(BaseModel):
    """A frozen set of settings; unknown names, wrong types and infinite numbers are refused, all of them at once."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


S = TypeVar("S", bound="Settings")


def as_read_now(kind: type[Settings], given: dict[str, Any], source: str = "") -> dict[str, Any]:
    """Plain data as `read_settings` takes it, with settings that came later at their defaults; as it is where it fits
    no settings of `kind`."""
    try:
        return plain(read_settings(kind, given, source))
    except UserError:
        return given


def read_settings(kind: type[S], given: dict[str, Any], source: str = "") -> S:
    """Settings of `kind` from plain data as JSON or TOML hold it; UserError names everything that is wrong.

    `source` says where the data came from, such as a file's name.
    """
    try:
        return kind.model_validate_json(json.dumps(given))
    except ValidationError as error:
        problems = "; ".join(_explain(kind, detail) for detail in error.errors())
        raise UserError(f"{source or kind.__name__} cannot be used: {problems}", "correct these settings") from error
    except UserError as error:
        if not source:
            raise
        raise UserError(f"{source} cannot be used: {error.problem}", error.hint) from error
    except TypeError as error:
        raise UserError(f"{source or kind.__name__} cannot be used: {error}", "correct these settings") from error


def read_described(kind: type[S], path: Path, what: str) -> S:
    """Settings of `kind` from a JSON file that says its `format` and `version`, which `kind` has as defaults.

    `what` is what such a file is; UserError for a file that is damaged, something else, or of another version.
    """
    data = read_json(path, what)
    if not isinstance(data, dict) or data.get("format") != kind.model_fields["format"].default:
        raise UserError(f"{path} is not a {what}", "move it away, or restore the right file")
    check_version(kind, data, f"{path} is a {what}")
    return read_settings(kind, data, str(path))


def check_version(kind: type[Settings], data: dict[str, Any], subject: str) -> None:
    """Raise UserError where the `version` of `data` is not that of `kind`."""
    version = kind.model_fields["version"].default
    if data.get("version") != version:
        raise UserError(
            f"{subject} of format {data.get('version')} and this program reads {version}",
            "use the version of orchestrion that made it",
        )


def read_toml(kind: type[S], path: Path, base: S | None = None) -> S:
    """Settings of `kind` from a TOML file; where there is a `base`, what the file leaves out is as there (`_over`)."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}", "correct the file") from error
    return read_settings(kind, given if base is None else _over(plain(base), given), str(path))


def _over(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What is `given`, table by table, in place of what `base` has there; false is no table, as TOML has no null."""
    merged = dict(base)
    for name, value in given.items():
        own = base.get(name)
        if value is False and (own is None or isinstance(own, dict)):
            value = None
        merged[name] = _over(own, value) if isinstance(own, dict) and isinstance(value, dict) else value
    return merged


def plain(settings: Settings) -> dict[str, Any]:
    """The settings as JSON holds them; `read_settings` makes the same object again.

    UserError for a name in them that is no text, as a file's may be.
    """
    try:
        data: dict[str, Any] = json.loads(settings.model_dump_json())
    except PydanticSerializationError as error:
        raise UserError("the name of a file or folder here is not text in UTF-8", "rename it") from error
    return data


def _explain(kind: type[Settings], detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = _names(kind, detail["loc"][:-1])
        close = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        return f"there is no setting {where!r} ({hint})"
    if detail["type"] == "missing":
        return f"the setting {where!r} is missing"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}" if where else message


def _names(kind: Any, path: tuple[Any, ...]) -> list[str]:
    """Settings known at `path` below `kind`, looking through tuples and unions."""
    for part in path:
        if isinstance(part, str) and part in kind.model_fields:
            kind = _settings_in(kind.model_fields[part].annotation)
        if kind is None:
            return []
    return sorted(kind.model_fields)


def _settings_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    return next((found for part in get_args(annotation) if (found := _settings_in(part))), None)
