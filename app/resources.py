"""Where the files lie that are not modules: templates, static files, migrations, examples.

A wheel carries them inside this package; in a checkout, and in an editable install of one, they stand beside it.
"""

from pathlib import Path
from typing import Final, Literal

Resource = Literal["templates", "static", "alembic", "examples"]

_PACKAGE: Final = Path(__file__).resolve().parent
# Decided once for all of them: falling back from one to the other by name would, in a wheel that lacks its migrations,
# find the library `alembic` in site-packages.
_BASE: Final = _PACKAGE if (_PACKAGE / "templates").is_dir() else _PACKAGE.parent


def resource_dir(name: Resource) -> Path:
    """Return the absolute path of the folder `name`; FileNotFoundError says that the installation is incomplete."""
    folder = _BASE / name
    if not folder.is_dir():
        raise FileNotFoundError(f"incomplete installation: there is no folder {folder}")
    return folder
