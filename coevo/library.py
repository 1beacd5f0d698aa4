"""Finds what a name in YAML means, and reads YAML strictly.

A data file is looked up as a path (relative to the file that names it, then to the working directory), in
``./<kind>/``, among the packaged files, and in the checkout. A plug-in is (1) ``coevo/<kind>/<name>.py``, (2)
``path/to/file.py:Name``, or (3) an entry point ``coevo.<kind>`` of another package; a module of coevo's own
names its plug-in ``plugin``.

PyYAML as it comes keeps the last of duplicate keys, reads ``1.1e6`` as text and ``12:30`` as 750. Here
duplicate keys, aliases, tags and huge or deep files are refused, and scalars follow YAML 1.2.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import os
import re
import stat
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml

from coevo.errors import DataError, SpecError, near

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_BYTES = 1 << 20
MAX_DEPTH = 40

FieldPath = tuple[str | int, ...]

_PACKAGE = Path(__file__).resolve().parent
_USER_MODULE = "coevo_user_"
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, object] = {
    "": None, "~": None, "null": None, "true": True, "false": False,
    ".inf": math.inf, "-.inf": -math.inf, ".nan": math.nan,
}  # fmt: skip


@dataclass(frozen=True)
class Document:
    """A YAML file as plain data, with the line of every field.

    Attributes:
        file: Its name, as the user would write it.
        data: The mapping at its top.
        lines: Line, from 1, of every field by its path.
    """

    file: str
    data: dict[str, Any]
    lines: Mapping[FieldPath, int]

    def error(self, path: FieldPath, problem: str) -> SpecError:
        """Returns the error that names file, line and dotted field for the field at ``path``."""
        known = path
        while known not in self.lines and known:
            known = known[:-1]
        return SpecError(problem, file=self.file, line=self.lines.get(known, 0), field=self.dotted(path))

    def dotted(self, path: FieldPath) -> str:
        """Returns ``memories.glb.size_kib`` for a path; items of a list go by their ``name`` where they have one."""
        parts: list[str] = []
        here: Any = self.data
        for step in path:
            here = here[step] if _holds(here, step) else None
            named = isinstance(step, int) and isinstance(here, dict) and isinstance(here.get("name"), str)
            parts.append(here["name"] if named else str(step))
        return ".".join(parts)

    def versioned(self, schema: int) -> Document:
        """Returns the document without its field ``schema``.

        Raises:
            SpecError: The field is missing, or is another.
        """
        if self.data.get("schema") != schema:
            raise self.error(("schema",), f"must be {schema}; this coevo reads no other")
        return replace(self, data={key: value for key, value in self.data.items() if key != "schema"})

    def parse(self, model: type[ModelT]) -> ModelT:
        """Checks the document against a pydantic model and returns the instance.

        Raises:
            SpecError: With the first mistake's line, field, value and cure, and how many more there are.
        """
        from pydantic import ValidationError

        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            raise self._first(error.errors(), model) from None

    def _first(self, errors: list[ErrorDetails], model: type[BaseModel]) -> SpecError:
        first = min(errors, key=lambda e: (e["type"] != "extra_forbidden", self.lines.get(self._real(e["loc"]), 0)))
        path = self._real(first["loc"])
        more = f" [and {len(errors) - 1} more]" if len(errors) > 1 else ""
        return self.error(path, _explain(first, model) + more)

    def _real(self, loc: tuple[int | str, ...]) -> FieldPath:
        """Drops what pydantic adds to a path (names of union members) and the document does not have."""
        path: list[str | int] = []
        here: Any = self.data
        for i, step in enumerate(loc):
            if _holds(here, step):
                here = here[step]
                path.append(step)
            elif i == len(loc) - 1 and isinstance(here, dict):
                path.append(step)
        return tuple(path)


def read_yaml(path: Path, shown: str | None = None) -> Document:
    """Reads a YAML file strictly.

    Raises:
        SpecError: The file is absent, too large or deep, not YAML, has duplicate keys, aliases or tags, or does
            not hold a mapping.
    """
    file = shown or str(path)
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # it might never end
            raise SpecError("is a pipe or device; a specification is a file", file=file)
        if (size := status.st_size) > MAX_BYTES:
            raise SpecError(f"{size} bytes; a specification has at most {MAX_BYTES}", file=file)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror or error}", file=file) from None
    except UnicodeDecodeError:
        raise SpecError("is not UTF-8 text", file=file) from None
    return parse_yaml(text, file)


def parse_yaml(text: str, file: str) -> Document:
    """As `read_yaml`, from text."""
    try:
        _refuse_depth_aliases_and_tags(text, file)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise SpecError(f"not YAML: {error.problem or error.context}", file=file, line=line) from None
    except yaml.YAMLError as error:
        raise SpecError(f"not YAML: {error}", file=file) from None
    lines: dict[FieldPath, int] = {}
    data = _plain(node, (), lines, file) if node is not None else None
    if not isinstance(data, dict):
        raise SpecError("must hold a mapping (lines of `key: value`)", file=file)
    return Document(file, data, lines)


def _refuse_depth_aliases_and_tags(text: str, file: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise SpecError("aliases (*name) are not supported; write the value out", file=file, line=line)
        if (tag := getattr(event, "tag", None)) is not None:
            raise SpecError(f"the tag {tag!r} is not supported; remove it", file=file, line=line)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise SpecError(f"nested deeper than {MAX_DEPTH} levels", file=file, line=line)


def _plain(node: yaml.Node, path: FieldPath, lines: dict[FieldPath, int], file: str) -> Any:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(node, path, lines, file)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, i), lines, file) for i, item in enumerate(node.value)]
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return scalar(str(node.value)) if plain else node.value


def _plain_mapping(node: yaml.MappingNode, path: FieldPath, lines: dict[FieldPath, int], file: str) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise SpecError("a key must be a plain word", file=file, line=line)
        key = str(key_node.value)
        if key in data:
            first = lines[(*path, key)]
            dotted = ".".join(str(step) for step in (*path, key))
            raise SpecError(f"stands twice (first on line {first}); remove one", file=file, line=line, field=dotted)
        lines[(*path, key)] = line
        data[key] = _plain(value_node, (*path, key), lines, file)
    return data


def scalar(text: str) -> object:
    """Returns the value of an unquoted scalar by YAML 1.2's core schema: null, bool, int, float or str."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) and len(text) <= 20:  # all of 64 bits; longer ones are floats, which int fields refuse
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _holds(here: Any, step: str | int) -> bool:
    if isinstance(here, dict):
        return step in here
    return isinstance(here, list) and isinstance(step, int) and step < len(here)


def _explain(error: ErrorDetails, model: type[BaseModel]) -> str:
    """One line for one of pydantic's errors: the value and the cure."""
    kind, value = error["type"], error.get("input")
    if kind == "extra_forbidden":
        return f"unknown key {near(str(error['loc'][-1]), _fields(model, error['loc'][:-1]))}"
    if kind == "missing":
        return "is missing; add it"
    if kind.startswith(("int_", "float_")) and isinstance(value, str):
        return f"must be a plain number, got {value!r}; the unit stands in the field's name"
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(value, dict | list) or kind == "value_error" else f", got {value!r}"
    return f"{message[0].lower()}{message[1:]}{shown}"


def _fields(model: type[BaseModel], loc: tuple[int | str, ...]) -> Iterator[str]:
    """The keys that the model knows at ``loc``; members of a union all count."""
    models = [model]
    for step in loc:
        inner: list[type[BaseModel]] = []
        for candidate in models:
            fields = {field.alias or name: field for name, field in candidate.model_fields.items()}
            field = fields.get(str(step))
            inner += _models_in(field.annotation) if field else []
        models = inner or models
    for candidate in models:
        yield from (field.alias or name for name, field in candidate.model_fields.items())


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


# -- where things are ------------------------------------------------------------------------------------------


def data_folders(kind: str) -> list[Path]:
    """Folders that may hold data files of a kind (``accelerators``, ``spaces``, ``experiments``), in look-up order."""
    return [Path(kind), _PACKAGE / "_data" / kind, _PACKAGE.parent / kind]


def list_data(kind: str) -> list[str]:
    """Names of all data files of a kind that can be named without a path."""
    return sorted({path.stem for folder in data_folders(kind) for path in folder.glob("*.yaml")})


def find_data(kind: str, name: str, near_file: str = "") -> Path:
    """Returns the path of a data file by name or path.

    Args:
        kind: ``accelerators``, ``spaces``, ``experiments``, ``experiments/correlations`` or
            ``experiments/comparisons``.
        name: A name such as ``eyeriss``, or a path ending in ``.yaml`` or ``.yml``.
        near_file: The file that names it; a relative path is tried from its folder first.

    Raises:
        SpecError: There is none; the text lists the known names.
    """
    if name.endswith((".yaml", ".yml")):
        tried = [Path(near_file).parent / name, Path(name)]
    else:
        tried = [folder / f"{name}.yaml" for folder in data_folders(kind)]
    for path in tried:
        if path.is_file():
            return path
    raise SpecError(f"no {kind.rpartition('/')[2][:-1]} named {name!r} {near(name, list_data(kind))}")


def find_table(what: str, field: str, name: str, files: Sequence[str], near_file: str) -> Path:
    """Returns the path of a table of published figures, which a user brings.

    Args:
        what: For the text of an error.
        field: Of the experiment that names it.
        name: A path, from the experiment file's folder or the working directory; empty: the first of ``files`` in the
            folder that the environment variable ``COEVO_DATA`` names.
        files: What lies in that folder.
        near_file: The experiment's file.

    Raises:
        DataError: It is nowhere; the text says where to put it.
    """
    data = os.environ.get("COEVO_DATA")
    tried = [Path(near_file).parent / name, Path(name)] if name else [Path(data) / files[0]] if data else []
    for path in tried:
        if path.is_file():
            return path
    looked = f"found no {' or '.join(dict.fromkeys(map(str, tried)))}" if tried else "no file is named"
    raise DataError(
        f"{what}: {looked}; name the file in {field}, or put {' and '.join(files)} into a folder and name that in the "
        "environment variable COEVO_DATA"
    )


def list_plugins(kind: str) -> list[str]:
    """Names of coevo's own plug-ins of a kind and of installed entry points."""
    return sorted({*_own_plugins(kind), *entry_points(group=f"coevo.{kind}").names})


def _own_plugins(kind: str) -> list[str]:
    return [
        path.stem
        for path in (_PACKAGE / kind).glob("*.py")
        if re.search(r"^plugin\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]


def find_plugin(kind: str, name: str, near_file: str = "") -> Any:
    """Returns the plug-in object that a name in YAML stands for.

    Args:
        kind: The room: ``networks``, ``cost``, ``accuracy`` or ``optim``.
        name: ``name``, ``path/to/file.py:Name``, or an entry point's name.
        near_file: The file that names it; a relative path is tried from its folder first.

    Raises:
        SpecError: There is none, or the user's file or package fails on import.
    """
    if ".py:" in name:
        return _from_file(kind, name, near_file)
    if name in _own_plugins(kind):
        return importlib.import_module(f"coevo.{kind}.{name}").plugin
    for point in entry_points(group=f"coevo.{kind}", name=name):
        try:
            return point.load()
        except Exception as error:
            problem = f"{kind} plug-in {name!r} ({point.value}) fails on import: {type(error).__name__}: {error}"
            raise SpecError(problem) from error
    raise SpecError(f"no {kind} plug-in named {name!r} {near(name, list_plugins(kind))}")


def plugin_file(name: str, near_file: str) -> Path | None:
    """Returns the file of a plug-in ``path/to/file.py:Name``, absolute, as `find_plugin` finds it; None if absent."""
    path = _path_of(name, near_file)
    return None if path is None else path.resolve()


def fingerprint(path: Path) -> str:
    """Returns a digest of a file's content."""
    return hashlib.blake2b(path.read_bytes(), digest_size=12).hexdigest()


def _path_of(name: str, near_file: str) -> Path | None:
    file = name.rpartition(":")[0]
    return next((path for path in (Path(near_file).parent / file, Path(file)) if path.is_file()), None)


def _from_file(kind: str, name: str, near_file: str) -> Any:
    file, _, attribute = name.rpartition(":")
    path = _path_of(name, near_file)
    if path is None:
        raise SpecError(f"{kind} plug-in {name!r}: there is no file {file}")
    module = _import_path(path)
    if not hasattr(module, attribute):
        public = [key for key in vars(module) if not key.startswith("_")]
        raise SpecError(f"{file} has no {attribute!r} {near(attribute, public)}")
    return getattr(module, attribute)


def _import_path(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{_USER_MODULE}{path.stem}", path)
    if spec is None or spec.loader is None:
        raise SpecError("is not a Python file", file=str(path))
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pydantic look their module up while it runs. It does not stay: what no other process can
    # import, joblib and the training workers then pickle by value.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise SpecError(f"fails on import: {type(error).__name__}: {error}", file=str(path)) from error
    finally:
        sys.modules.pop(spec.name, None)
    return module


def plugin_line(error: BaseException) -> tuple[str, int] | None:
    """Returns the file and line of a user's plug-in that an error came through, the innermost; None if through none."""
    place = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).startswith(_USER_MODULE):
            place = frame.f_code.co_filename, line
    return place
