"""What a world of one's own may plug in as `examples`: pictures whose face is known, as many as are asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from components.image.generation.control.pose import Keypoints


@dataclass(frozen=True)
class Example:
    """A picture, its captions (the first says nothing of where the face is), its key points, and its group.

    Metrics are told by group, the worst beside the mean.
    """

    picture: Image.Image
    captions: tuple[str, ...]
    face: Keypoints
    group: str = ""


class Examples(Protocol):
    """A source of examples."""

    license: str
    artist: str

    def draw(
        self,
        count: int,
        seed: int,
        size: int,
        *,
        held_out: bool = False,
        groups: Sequence[str] = (),
        named: bool = True,
    ) -> Iterator[Example]:
        """`count` square pictures of `size` pixels, all decided by `seed`.

        Args:
            held_out: from what training never sees.
            groups: only these; empty: the world's own choice.
            named: whether captions name the group.
        """
