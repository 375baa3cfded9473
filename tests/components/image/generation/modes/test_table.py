"""The table: which class a request becomes, and what all modes owe."""

import json
import re
import subprocess
import sys

import pytest

from components.errors import RequestError
from components.image.generation.modes import MODES, parse
from components.image.generation.request import GenerateRequest
from components.image.product import Request


def test_a_request_becomes_its_modes_own() -> None:
    assert type(parse({"prompt": "a"})) is GenerateRequest
    asked = Request.model_validate_json('{"mode": "image_to_image", "prompt": "a", "image": "AAAA", "strength": 0.2}')
    assert type(asked) is MODES["image_to_image"].request and asked.strength == 0.2
    assert Request.model_validate(asked.model_dump()) == asked == Request(**asked.model_dump())
    assert type(Request(prompt="a")) is GenerateRequest
    assert Request.model_validate_json(asked.model_dump_json()) == asked


@pytest.mark.parametrize("mode", ["sculpture", 3, None, "x" * 10_000])
def test_an_unknown_mode_names_the_known_ones(mode: object) -> None:
    with pytest.raises(RequestError, match="is unknown") as refused:
        parse({"prompt": "a", "mode": mode})
    assert "image_to_image" in refused.value.hint and len(str(refused.value)) < 1000


def test_every_row_is_named_as_its_request_names_itself() -> None:
    for name, mode in MODES.items():
        assert mode.request.model_fields["mode"].default == name
    with pytest.raises(RequestError, match="mode"):
        GenerateRequest(prompt="a", mode="image_to_image")


def test_unknown_fields_of_a_mode_are_named() -> None:
    with pytest.raises(RequestError, match=r"strenth: no such field; known: .*strength"):
        parse({"mode": "image_to_image", "prompt": "a", "image": "AAAA", "strenth": 1})


def test_the_schema_has_the_fields_of_all_modes() -> None:
    schema = Request.model_json_schema()
    assert schema["properties"]["mode"]["enum"] == list(MODES)
    for mode in MODES.values():
        assert mode.request.model_fields.keys() <= schema["properties"].keys()
    named = set(re.findall(r"#/\$defs/(\w+)", json.dumps(schema)))
    assert named <= schema["$defs"].keys() and "strength" in schema["properties"]


def test_a_server_may_parse_requests_without_torch() -> None:
    code = "import sys, components.image.product; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
