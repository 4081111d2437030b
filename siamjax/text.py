"""Text as it is shown: names of strangers made safe, lines as wide as the terminal."""

import shutil

# The narrowest and widest line, and what a terminal that says nothing has.
_NARROWEST, _WIDEST, _USUAL = 48, 100, 80
# The most characters of a name that is shown, so that tables and plots stay narrow.
SHOWN = 60


def printable(text: object) -> str:
    """Text on one line, without the control characters that a terminal would obey.

    Escapes, newlines and marks that change the writing direction are shown as Python
    writes them (`\\x1b`, `\\n`). So are bytes of a file name that are not UTF-8, which
    Python stores as surrogates.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in str(text)
    )


def short(text: object, most: int = SHOWN) -> str:
    """`printable` text; if it is longer than `most`, its middle is left out."""
    line = printable(text)
    if len(line) <= most:
        return line
    head = (most - 1) // 2
    return f"{line[:head]}…{line[head + 1 - most :]}"


def terminal_width() -> int:
    """Characters of a line: of COLUMNS or the terminal, 80 where there is neither."""
    columns = shutil.get_terminal_size((_USUAL, 24)).columns
    return max(_NARROWEST, min(_WIDEST, columns))
