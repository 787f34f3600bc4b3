"""Text compared with a stored snapshot: `assert_stored(text, "help")` reads `snapshots/help.txt`.

Run the tests with MARGRAVE_STORE_TEXT=1 to store what they see, then read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["assert_stored"]

_FOLDER = Path(__file__).parent / "snapshots"


def assert_stored(text: str, name: str) -> None:
    """Fail unless `text` is what is stored under `name`."""
    file = _FOLDER / f"{name}.txt"
    text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    if os.environ.get("MARGRAVE_STORE_TEXT") == "1":
        _FOLDER.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
