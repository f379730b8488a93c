"""The configuration described: as text, and as a JSON schema, by which editors complete and check.

Both are made of the settings' own dataclasses, so that they cannot disagree with what is accepted.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from cdsp.dataset.settings import SOURCES
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.experiment.config import Config
from cdsp.experiment.methods import METHODS
from cdsp.losses import LOSS_TERMS
from cdsp.networks.settings import NetworkSettings
from cdsp.pseudo_labels import settings as pseudo_labels
from cdsp.reporting.settings import TableSettings
from cdsp.scribbles.settings import STROKE_SOURCES, DegradationSettings
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.settings import describe_settings, nearest

SECTIONS: dict[str, type] = {
    "config": Config,
    **{f"dataset.{name}": kind for name, kind in SOURCES.items()},
    **{f"scribbles.{name}": kind for name, kind in STROKE_SOURCES.items()},
    "scribbles.degrade": DegradationSettings,
    "pseudo_labels": pseudo_labels.PseudoLabelSettings,
    "pseudo_labels.network": pseudo_labels.NetworkEvidence,
    "pseudo_labels.pixels": pseudo_labels.PixelSettings,
    "pseudo_labels.corruption": pseudo_labels.CorruptionSettings,
    "network": NetworkSettings,
    "segmentation": SegmentationSettings,
    "evaluation": EvaluationSettings,
    **{f"method.{name}": term.Options for name, term in LOSS_TERMS.items()},
    "table": TableSettings,
}
"""Section as `cdsp settings` names it → its settings."""


def describe_sections(prefix: str) -> str:
    """The settings of all sections whose names begin with a word, a line for each.

    Raises:
        ValueError: there is no such section.
    """
    known = (*SECTIONS, "methods")
    chosen = [name for name in known if name.startswith(prefix)]
    if not chosen:
        raise ValueError(f"unknown section {prefix!r}{nearest(prefix, known)}")
    texts = [
        describe_methods() if name == "methods" else describe_settings(SECTIONS[name], "  ")
        for name in chosen
    ]
    return "\n\n".join(f"{name}\n{text}" for name, text in zip(chosen, texts, strict=True)) + "\n"


def describe_methods() -> str:
    """The methods that every experiment knows, a row to a line."""
    return "\n".join(f"  {name}: {json.dumps(terms)}" for name, terms in METHODS.items())


def config_schema() -> dict[str, Any]:
    """The JSON schema of `config.yaml` and of what is laid over it.

    A file that is laid over another says only what differs, so that nothing is required.
    """
    schema = _object(Config)
    properties = schema["properties"]
    properties["datasets"]["additionalProperties"] = _one_source(SOURCES)
    properties["scribbles"] = _one_source(STROKE_SOURCES)
    properties["methods"]["additionalProperties"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {"anyOf": [{"type": "number", "minimum": 0}, _object(term.Options)]}
            for name, term in LOSS_TERMS.items()
        },
    }
    vary = properties["tables"]["additionalProperties"]["properties"]["vary"]
    vary["additionalProperties"] = {"type": "array", "minItems": 1}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An experiment of CDSP",
        **schema,
    }


def _one_source(sources: Mapping[str, type]) -> dict[str, Any]:
    """An object whose key `source` says which other keys it has."""
    kinds = []
    for name, kind in sources.items():
        schema = _object(kind)
        schema["properties"] = {"source": {"const": name}, **schema["properties"]}
        kinds.append({**schema, "required": ["source"]})
    return {"oneOf": kinds}


def _object(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    properties = {}
    for field in dataclasses.fields(kind):
        default = field.default
        if callable(field.default_factory):
            default = field.default_factory()
        properties[field.name] = {
            "description": field.metadata["help"],
            **_value(hints[field.name], field.metadata),
        }
        if default is not dataclasses.MISSING and not dataclasses.is_dataclass(default):
            properties[field.name]["default"] = default
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _value(hint: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return {"anyOf": [_value(hint, metadata), {"type": "null"}]}
    if origin is Literal and metadata["prefix"]:
        pattern = {"type": "string", "pattern": f"^{metadata['prefix']}."}
        return {"anyOf": [{"enum": list(arguments)}, pattern]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        length = (
            {} if Ellipsis in arguments else dict.fromkeys(("minItems", "maxItems"), len(arguments))
        )
        return {"type": "array", "items": _value(arguments[0], metadata), **length}
    if origin is dict:
        return {"type": "object", "additionalProperties": _value(arguments[1], metadata)}
    if dataclasses.is_dataclass(hint):
        return _object(hint)  # type: ignore[arg-type]
    if hint is Any:
        return {}
    schema: dict[str, Any] = {
        "type": {float: "number", int: "integer", bool: "boolean", str: "string"}[hint]
    }
    if hint in (float, int):
        schema |= {
            key: metadata[key] for key in ("minimum", "maximum") if metadata[key] is not None
        }
    return schema
