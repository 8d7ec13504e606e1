"""The YAML dialect of sweep files: 1e-3 is a number, a repeated key is an error, and no aliases are written."""

from __future__ import annotations

import re
from typing import Any

import yaml

YAML_FLOAT = re.compile(r"^[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
"""Matches text that is a number in a sweep file."""


class Dumper(yaml.SafeDumper):
    """A dumper that quotes text which would otherwise be parsed as a number, and that writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


Dumper.add_implicit_resolver("tag:yaml.org,2002:float", YAML_FLOAT, list("-+.0123456789"))


def parse_yaml(text: str) -> Any:
    """Parse YAML. Raises yaml.YAMLError, even if PyYAML raises ValueError instead, as for a date in month 13."""
    try:
        return yaml.load(text, Loader=Loader)
    except (ValueError, RecursionError) as error:
        raise yaml.YAMLError(str(error)) from None


class Loader(yaml.SafeLoader):
    """A loader for which 1e-3 is a number (in YAML 1.1 it is text) and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:int")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][\d_]*)$"), list("-+0123456789"))
Loader.add_implicit_resolver("tag:yaml.org,2002:float", YAML_FLOAT, list("-+.0123456789"))
