"""Load YAML and JSON of a foreign bundle as plain values: no tags, aliases or repeated keys, and limits of size."""

from __future__ import annotations

import json
from typing import Any

import yaml

from mdcsrn.errors import ConfigError

MAX_BYTES = 2**20
MAX_DEPTH = 40
MAX_NODES = 20_000


def load_plain(name: str, content: bytes) -> Any:
    """Parse one file.

    Args:
        name: its name; ``.json`` is read as JSON, all else as YAML.
        content: its bytes.

    Returns:
        Dictionaries with text keys, lists, text, numbers, booleans, None.

    Raises:
        ConfigError: too large or too deep, a tag, an anchor or alias, a key that comes twice, or not parsable.
    """
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{name} is too large", got=f"{len(content)} bytes", allowed=f"{MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8")
        if name.lower().endswith(".json"):
            value = json.loads(text, object_pairs_hook=_no_duplicates)
        else:
            _check_events(text)
            value = yaml.load(text, _Loader)
        _count(value)
        return value
    except ConfigError:
        raise
    except RecursionError as error:
        raise ConfigError(f"{name} is nested too deeply", allowed=f"{MAX_DEPTH} levels") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot parse {name}", got=" ".join(str(error).split())[:200]) from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses a key that comes twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        return _no_duplicates([(self.construct_object(key, True), self.construct_object(value, True))
                               for key, value in node.value])  # fmt: skip


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_mapping)


def _no_duplicates(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if isinstance(key, dict | list):
            raise ConfigError("a key that is no text", got=str(key)[:80])
        if not isinstance(key, str):
            key = str(key)
        if key in found:
            raise ConfigError("a key comes twice", got=key)
        found[key] = value
    return found


def _check_events(text: str) -> None:
    """Tags and aliases are told apart before anything is built."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ConfigError("an anchor or alias: a small file can stand for a huge one", got=event.anchor)
        if getattr(event, "tag", None):
            raise ConfigError("a tag, which can ask for an object of Python", got=event.tag)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or count > 4 * MAX_NODES:
            raise ConfigError("too deep or too long", allowed=f"{MAX_DEPTH} levels, {MAX_NODES} values")


def _count(value: Any) -> None:
    """Limits of depth and number for JSON too."""
    waiting, seen = [(value, 0)], 0
    while waiting:
        item, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_NODES:
            raise ConfigError("too deep or too long", allowed=f"{MAX_DEPTH} levels, {MAX_NODES} values")
        if isinstance(item, dict):
            waiting += [(inner, depth + 1) for inner in item.values()]
        elif isinstance(item, list):
            waiting += [(inner, depth + 1) for inner in item]
