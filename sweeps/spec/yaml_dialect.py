"""The YAML of sweep files: 1e-3 is a number, a repeated key is an error, and no aliases are written."""

from __future__ import annotations

import re
from typing import Any

import yaml

YAML_FLOAT = re.compile(r"^[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
"""What a sweep file reads as a number."""


class Dumper(yaml.SafeDumper):
    """Quotes text that a sweep file would read as a number, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


Dumper.add_implicit_resolver("tag:yaml.org,2002:float", YAML_FLOAT, list("-+.0123456789"))


def parse_yaml(text: str) -> Any:
    """Raises yaml.YAMLError for everything that can be wrong: PyYAML lets a date in month 13 out as a ValueError."""
    try:
        return yaml.load(text, Loader=Loader)
    except (ValueError, RecursionError) as error:
        raise yaml.YAMLError(str(error)) from None


class Loader(yaml.SafeLoader):
    """YAML as people write it: 1e-3 is a number (YAML 1.1 reads text), and a repeated key is an error."""

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
