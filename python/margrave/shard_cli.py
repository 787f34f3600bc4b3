"""The command `shard`: a night cut into files that each hold whole accounts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from margrave import delivery, night
from margrave.exits import DONE
from margrave.options import Debug, Night, Out, Overwrite, Quiet, session_of
from margrave.sources import Sources, inside

__all__ = ["shard"]


def shard(
    context: typer.Context,
    folder: Night,
    count: Annotated[
        int,
        typer.Option("--shards", metavar="N", min=1, max=100_000, help="How many files a frame."),
    ],
    out: Out,
    overwrite: Overwrite = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written as one JSON object.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Cut a night into shards, for machines that cannot hold it whole.

    Each file holds whole accounts, told by a hash of their ids that never changes. What is
    written is a night like any other: sweep, stress and breach work through it shard by shard.
    Other files of NIGHT, and of its folders, are copied. Frames are cut a few million rows at a
    time.
    """
    session = session_of(context, quiet, debug)
    import margrave as mg
    from margrave import shards
    from margrave.publish import Publication

    files = night.find(folder)
    if folder.resolve() in out.resolve().parents:
        raise night.RefusedError(f"--out: {out} is inside {folder}\nhint: choose another folder")
    with night.reading():
        others = _others(folder, {name for name in shards.FRAMES if name in files})
    sources = Sources({**files, "others": others})
    shards.check_ids(files)
    publication = session.enter(Publication(out, overwrite=overwrite, inputs=[folder]))
    rows: dict[str, int] = {}
    for name in [name for name in shards.FRAMES if name in files]:
        with session.step("cut", f"cutting {name} into {count} shards") as show, night.reading():
            rows[name] = shards.split(
                name,
                files[name],
                count,
                publication=publication,
                show=show,
            )
    with session.step("write", f"writing {publication.name}"):
        for path in others:
            publication.copy(path.relative_to(folder).as_posix(), path)
        publication.write(shards.MARK, shards.mark(count))
        sources.require_unchanged()
        session.hold()
        publication.commit()
    counted = ", ".join(f"{number:,} {name}" for name, number in rows.items())
    session.say(
        f"{out}: {count} shards, {counted}\n"
        f"next: margrave sweep {shlex.quote(str(out))} --out tables"
    )
    if as_json:
        facts: dict[str, Any] = {"margrave_version": mg.__version__, "shards": count, **rows}
        session.answer(delivery.printed({**facts, "exit_code": DONE}))
    return DONE


def _others(folder: Path, cut: set[str]) -> list[Path]:
    """Return the files of a night that are not cut, its own and those in folders of it."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.stem in cut or path.name == "shards.json":
            continue
        within = inside(path) if path.is_dir() else [path]
        found += sorted(file for file in within if file.is_file())
    return found
