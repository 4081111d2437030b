"""Text of strangers, made safe to show: names of files, conditions and methods."""

# A name is shown up to this many characters: a line stays a line, a picture a picture.
SHOWN = 60


def printable(text: object) -> str:
    """Text in one line without control characters, which a terminal would obey.

    Escapes, newlines and the marks that turn the direction of writing are shown as
    Python writes them (`\\x1b`, `\\n`); bytes that are no UTF-8 in a file's name, which
    Python carries as surrogates, are shown so, too.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in str(text)
    )


def short(text: object, most: int = SHOWN) -> str:
    """`printable`, with the middle left out where it is longer than `most`."""
    line = printable(text)
    if len(line) <= most:
        return line
    head = (most - 1) // 2
    return f"{line[:head]}…{line[head + 1 - most :]}"
