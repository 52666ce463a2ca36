"""Atheris on the readers: changes to valid files that reach new code of ours are changed further.

`guided.py FOLDER [options of libFuzzer]`. Ends with a status other than 0 at the first error that is no
InputError, the first file over the limits of time and memory, or when a library ends the process.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dgfnet.imaging", "dgfnet.cohort"]):
    import read_mutated

from dgfnet.cohort.manifest import read_cohort
from dgfnet.errors import InputError


def targets(folder: Path):
    """The files that are changed, each with the call that reads it, its arguments and its valid bytes."""
    for pair in read_mutated.pairs(folder):
        if read_mutated.is_read(*pair):
            for path in pair[1:3]:
                yield path, read_mutated.read_files, pair, path.read_bytes()
    tables = read_mutated.cohort(folder)
    for name in ("nodules.csv", "images.csv"):
        yield tables / name, read_cohort, (tables,), (tables / name).read_bytes()


def main(folder: Path, options: list[str]) -> None:
    made = list(targets(folder))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, (_, _, _, raw) in enumerate(made):
        (corpus / str(number)).write_bytes(bytes([number]) + raw)

    def test(data: bytes) -> None:
        """The first byte says which file the others are put in place of."""
        if not data:
            return
        path, work, arguments, raw = made[data[0] % len(made)]
        try:
            path.write_bytes(data[1:])
            work(*arguments)
        except InputError:
            pass
        finally:
            path.write_bytes(raw)

    atheris.Setup([sys.argv[0], *options, str(corpus)], test)
    atheris.Fuzz()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
