"""The JSON output against its published schema, and the schema against its page in docs/."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import jsonschema
import pytest
from test_writers import result, segment, spoken

from whisper_npu_cli.pipeline import writers
from whisper_npu_cli.pipeline.writers import WriterOptions, render

SCHEMA = json.loads(Path(writers.__file__).with_name("transcript.schema.json").read_text())
PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text()


def valid(found):
    jsonschema.Draft202012Validator(SCHEMA).validate(found)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("segments", [[], [segment(" one", 0.5, 1.25)], [spoken(" one two")]])
@pytest.mark.parametrize("pretty", [False, True])
def test_what_we_write_is_valid(segments, pretty):
    valid(json.loads(render(result(segments), "json", WriterOptions(pretty_json=pretty))))


def test_the_example_of_the_page_is_valid():
    valid(json.loads(re.search(r"```json\n(.*?)```", PAGE, re.S)[1]))


def paths(value, at=()):
    yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list):
            yield from paths(inner, (*at, key))
        else:
            yield (*at, key)


WRITTEN = json.loads(render(result([spoken(" one two")]), "json"))
OPTIONAL = {("segments", 0, "words")}


@pytest.mark.parametrize("path", [p for p in paths(WRITTEN) if p and isinstance(p[-1], str)])
def test_the_schema_misses_each_key_and_knows_its_type(path):
    damaged = copy.deepcopy(WRITTEN)
    parent = damaged
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = [None]
    with pytest.raises(jsonschema.ValidationError):
        valid(damaged)
    del parent[path[-1]]
    if path not in OPTIONAL:
        with pytest.raises(jsonschema.ValidationError):
            valid(damaged)
    parent["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError):
        valid(damaged)


def test_the_page_names_every_key():
    named = set(re.findall(r"`(\w+)(?:\[\])?`", PAGE))
    objects = [SCHEMA, *(part for part in SCHEMA["$defs"].values() if "properties" in part)]
    assert {key for part in objects for key in part["properties"]} <= named
