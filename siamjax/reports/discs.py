"""Small pictures of a point, with a colour and a shape."""

from PIL import Image, ImageDraw

from siamjax.reports import colours

EDGE = "#333333"
_OVERSIZE = 8


def draw_disc(
    side: int, colour: str, shape: str, *, rim: str | None = None
) -> Image.Image:
    """A square RGBA picture, drawn large and made small for smooth edges.

    Args:
      side: pixels.
      colour: `#rrggbb`.
      shape: see `colours.assign_shapes`; a novel one gets a dark edge.
      rim: colour of a thin edge around the other shapes.
    """
    large = _OVERSIZE * side
    image = Image.new("RGBA", (large, large), colour + "00")
    draw = ImageDraw.Draw(image)
    near, middle, far = 0.14 * large, 0.5 * large, 0.86 * large
    first, last = 0.04 * large, 0.96 * large  # a diamond reaches farther
    corners = dict(
        square=[(near, near), (far, near), (far, far), (near, far)],
        triangle=[(middle, near), (far, far), (near, far)],
        down=[(middle, far), (far, near), (near, near)],
        diamond=[(middle, first), (last, middle), (middle, last), (first, middle)],
    )
    novel = shape == colours.NOVEL_SHAPE
    edge, width = (EDGE, large // 14) if novel else (rim, large // 20)
    if shape == "circle":
        draw.ellipse((near, near, far, far), fill=colour, outline=edge, width=width)
    else:
        draw.polygon(corners[shape], fill=colour)
        if edge:
            line = [*corners[shape], *corners[shape][:2]]
            draw.line(line, fill=edge, width=width, joint="curve")
    return image.resize((side, side), Image.Resampling.LANCZOS)
