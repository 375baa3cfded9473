"""THE table of panels: what the page can show, in the order of its bar. A panel is a function of the studio."""

from collections.abc import Callable, Mapping

from serving.studio.page import Studio
from serving.studio.panels import compare, draw, edit, guide, move, shelf

PANELS: Mapping[str, Callable[[Studio], None]] = {
    "draw": draw.show,
    "edit": edit.show,
    "guide": guide.show,
    "move": move.show,
    "compare": compare.show,
    "gallery": shelf.show,
}
