"""Named settings: saved, listed, deleted, refused."""

import pytest

from components.errors import RequestError
from components.image.generation import presets


def test_saved_listed_loaded_deleted(home):
    presets.save("soft", {"steps": 4, "guidance_scale": 1.5})
    presets.save("手描き 2", {"mode": "inpaint", "feather": 3})
    assert list(presets.listed()) == ["soft", "手描き 2"]
    assert presets.load("soft") == {"steps": 4, "guidance_scale": 1.5}
    presets.save("soft", {"steps": 2})
    assert presets.load("soft") == {"steps": 2}
    presets.delete("soft")
    with pytest.raises(RequestError, match=r"'soft' is unknown\. Known: 手描き 2"):
        presets.load("soft")
    with pytest.raises(RequestError, match="unknown"):
        presets.delete("soft")


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("../soft", {"steps": 4}, "preset name"),
        ("", {"steps": 4}, "preset name"),
        ("a/b", {"steps": 4}, "preset name"),
        ("x" * 65, {"steps": 4}, "preset name"),
        ("soft", {}, "holds nothing"),
        ("soft", {"stepz": 4}, "stepz: no such field"),
        ("soft", {"steps": 0}, "steps: 0"),
        ("soft", {"feather": 3}, "feather: no such field"),
        ("soft", {"mode": "sculpture"}, "mode 'sculpture' is unknown"),
        ("soft", {"mode": "image_to_image", "image": "AAAA"}, "no pictures: image"),
    ],
)
def test_what_no_request_takes_is_not_saved(home, name, values, said):
    with pytest.raises(RequestError, match=said):
        presets.save(name, values)
    assert presets.listed() == {}


def test_a_damaged_file_is_named(home):
    path = presets.save("soft", {"steps": 4})
    for text in ("{", "[]"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(RequestError, match="'soft'"):
            presets.load("soft")
