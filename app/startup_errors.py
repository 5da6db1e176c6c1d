"""Why the service can't start: the half of the error tree that settings and short commands need.

It is apart from `app.errors` because that imports the web framework, which would be most of what `procdeck ps` takes.

    StartupError     the text is for a person, the exit code for a script
      BadConfig, DataFolderUnusable, DataFolderInUse, PortInUse, DatabaseTooNew, DatabaseDamaged
"""

import os
from typing import ClassVar


class StartupError(Exception):
    """The service can't start. The text says what is wrong and what to do; it is printed without a traceback."""

    exit_code: ClassVar[int] = 1


class BadConfig(StartupError):
    """A flag, an environment variable or procdeck.toml is wrong."""

    exit_code = os.EX_CONFIG


class DataFolderUnusable(StartupError):
    """The data folder can't be created, read or written, or something in it is not ours."""

    exit_code = os.EX_CANTCREAT


class DataFolderInUse(StartupError):
    """Another service holds the lock of the data folder."""

    exit_code = os.EX_TEMPFAIL


class PortInUse(StartupError):
    """The address can't be listened on."""

    exit_code = os.EX_UNAVAILABLE


class DatabaseTooNew(StartupError):
    """The database was made by a newer version of the code."""

    exit_code = os.EX_DATAERR


class DatabaseDamaged(StartupError):
    """The database's file can't be read as one: it has to be made again from the run folders."""

    exit_code = os.EX_IOERR
