"""The one exception a user is meant to read."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave us is wrong; the message says what, where, what was expected and what to do.

    The command line prints the message alone, without a traceback, and exits with status 2.
    """
