"""`python -m siamjax COMMAND` does what `siamjax COMMAND` does."""

from siamjax import commands

commands.run()
