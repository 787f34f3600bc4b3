"""Faults of ours, planted to see whether the alarms ring: Python that spoils a publication."""

from __future__ import annotations

__all__ = ["PLANTS"]

PLANTS = {
    "written in place": """
from margrave.publish import Publication

def in_place(self):
    self.out.mkdir(parents=True, exist_ok=True)
    return self.out

Publication._staged = in_place
Publication.commit = lambda self: None
""",
    "moved file by file": """
import shutil
from margrave.publish import Publication

def file_by_file(self):
    self.out.mkdir(parents=True, exist_ok=True)
    for path in sorted(self._staged().iterdir()):
        path.rename(self.out / path.name)
    self.discard()

Publication.commit = file_by_file
""",
    "the old one goes first": """
import shutil
from margrave import swap

def one_after_the_other(out, stage):
    shutil.rmtree(out)
    stage.rename(out)
    return stage

swap.replace = one_after_the_other
""",
    "nobody tidies": """
from margrave import publish

publish._tidy = lambda out, dated: None
""",
    "success claimed": """
import contextlib
from margrave import publish

commit = publish.Publication.commit

def claimed(self):
    with contextlib.suppress(publish.UnpublishedError):
        commit(self)

publish.Publication.commit = claimed
""",
    "nothing synced": """
import os

os.fsync = lambda handle: None
""",
    "manifest first": """
from margrave import manifest
from margrave.publish import Publication

write, held = Publication.write, {}


def first(self, name, content):
    if self not in held:
        held[self] = name
        write(self, manifest.NAME, "{}")
    if name != manifest.NAME:
        write(self, name, content)


Publication.write = first
""",
    "no second look": """
from margrave.publish import Publication

Publication._look_again = lambda self: None
""",
    "a second look without a lock": """
import contextlib
import time
from margrave import publish

publish.turn = lambda place, patience=None: contextlib.nullcontext()
look_again = publish.Publication._look_again

def slowly(self):
    look_again(self)
    time.sleep(0.01)

publish.Publication._look_again = slowly
""",
}
