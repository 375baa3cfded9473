import numpy as np
import torch

from components.portraits.world.loss_weights import face_share, weight_maps
from components.portraits.world.renders import Portrait, face_map, render


def test_the_weight_is_where_a_part_is() -> None:
    faces = torch.zeros(2, 32, 32, dtype=torch.uint8)
    faces[0, 8:10, 20:22] = 255  # all of the latent pixel (4, 10) at 16x16
    faces[1, 0, 0] = 51  # a fifth of a quarter of the latent pixel (0, 0)
    share = face_share(faces, 16)
    assert share.shape == (2, 1, 16, 16)
    assert share[0, 0, 4, 10] == 1.0
    maps = weight_maps(faces, 16, gain=3.0)
    assert maps[0, 0, 4, 10] == 4.0
    assert maps[0].float().mean() == 1.0 + 3.0 / 256
    assert maps[1, 0, 0, 0].item() == 1.0 + np.float16(3.0 * 2.0 * 0.2 / 4)


def test_the_renderer_knows_where_an_earring_is() -> None:
    attributes = {
        "hair_color": "blue", "hair_style": "short", "skin": "fair", "expression": "smile", "glasses": "no",
        "clothes_color": "red", "background": "white", "position": "center", "scale": "close", "tilt": "none",
        "facing": "right",
    }  # fmt: skip
    maps, pictures = [], []
    for worn in ("no", "yes"):
        shown = Portrait("micah", {**attributes, "earrings": worn}, 5)
        pictures.append(np.asarray(render(shown)).astype(int))
        maps.append(face_map(shown, np.asarray(render(shown))))
    changed = np.abs(pictures[0] - pictures[1]).max(2).reshape(32, 4, 32, 4).max((1, 3)) > 24
    assert 10 < changed.sum() < 150
    assert (maps[1][changed] > 0).all()
    assert (maps[0][changed & (maps[0] == 0)] == 0).any()
    assert 0.02 < (maps[0] > 0).mean() < 0.3, "eyes and mouth are a small part of a picture"
