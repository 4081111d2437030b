"""The output of commands in documents is renewed in its place."""

from scripts.tools import refresh

BEFORE = """Text.
<!-- lines 1 2 -->
```console
$ count \\
    --to 5
old
```
```
$ no console: stays
as it is
```
```console
$ one
old
$ none
```
"""
AFTER = """Text.
<!-- lines 1 2 -->
```console
$ count \\
    --to 5
1
...
4
5
```
```
$ no console: stays
as it is
```
```console
$ one
a

b
$ none
```
"""


def test_output_is_renewed_and_shortened():
    asked = []

    def run(command):
        asked.append(command)
        outputs = {"count": "1\n2\n3\n4\n5\n", "one": "\x1b[1ma\x1b[0m\n\nb \n"}
        return outputs.get(command.split()[0], "")

    assert refresh.refreshed(BEFORE, run) == AFTER
    assert asked == ["count \\\n    --to 5\n", "one\n", "none\n"]
    assert refresh.refreshed(AFTER, run) == AFTER


def test_a_command_runs_in_a_shell_of_the_repository():
    assert refresh.run("ls setup.cfg | cat\n") == "setup.cfg\n"
