"""What can go wrong with the local stack, as sentences for the person at the terminal."""


class StackError(Exception):
    """The stack cannot start or go on. The message says what is wrong and what to do, without a traceback."""


class StopRequested(Exception):
    """Ctrl-C or SIGTERM arrived while the stack was waiting for something."""
