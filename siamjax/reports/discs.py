"""Small pictures of one point each, by colour and shape."""

from PIL import Image, ImageDraw

from siamjax.reports import colours

EDGE = "#333333"
_OVERSIZE = 8


def draw_disc(side, colour, shape, *, rim=None):
    """An RGBA tile, drawn large and made small for smooth edges.

    Args:
      side: pixels.
      colour: `#rrggbb`.
      shape: see `colours.assign_shapes`; a novel one gets a dark edge.
      rim: colour of a thin edge round the others.
    """
    s = _OVERSIZE * side
    image = Image.new("RGBA", (s, s), colour + "00")
    draw = ImageDraw.Draw(image)
    a, b, m = 0.14 * s, 0.86 * s, 0.5 * s
    corners = dict(
        square=[(a, a), (b, a), (b, b), (a, b)],
        triangle=[(m, a), (b, b), (a, b)],
        down=[(m, b), (b, a), (a, a)],
        diamond=[(m, 0.04 * s), (0.96 * s, m), (m, 0.96 * s), (0.04 * s, m)],
    )
    novel = shape == colours.NOVEL_SHAPE
    edge, width = (EDGE, s // 14) if novel else (rim, s // 20)
    if shape == "circle":
        draw.ellipse((a, a, b, b), fill=colour, outline=edge, width=width)
    else:
        draw.polygon(corners[shape], fill=colour)
        if edge:
            line = [*corners[shape], *corners[shape][:2]]
            draw.line(line, fill=edge, width=width, joint="curve")
    return image.resize((side, side), Image.Resampling.LANCZOS)
