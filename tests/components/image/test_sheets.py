"""Pictures in rows and columns."""

from PIL import Image

from components.image.sheets import contact, grid, sheet


def test_sheets_place_pictures() -> None:
    red, blue = (Image.new("RGB", (128, 128), color) for color in ("red", "blue"))
    grid = sheet([[red, blue], [None, red]], ["one", "two"], ["a prompt", "日本語"])
    assert grid.getpixel((grid.width - 60, grid.height - 60)) == (255, 0, 0)
    assert grid.getpixel((grid.width - 60, 60)) == (0, 0, 255)
    assert grid.getpixel((grid.width - 200, grid.height - 60)) == (255, 255, 255)
    assert contact([red] * 5, across=2).size == (2 * 132, 3 * 132)


def test_a_grid_keeps_every_pixel() -> None:
    red, blue = (Image.new("RGB", (40, 30), color) for color in ("red", "blue"))
    found = grid([red, blue, red], across=2)
    assert found.size == (80, 60)
    assert [found.getpixel(at) for at in ((39, 29), (40, 0), (0, 30), (40, 30))] == [
        (255, 0, 0), (0, 0, 255), (255, 0, 0), (255, 255, 255),
    ]  # fmt: skip
