"""Fills the lessons in docs/ and draws their figures: python scripts/lessons [--check] [--measure [FIGURE ...]]

Without arguments, fills every page and draws every figure from the saved measurements. --check changes nothing and
prints what would change. --measure repeats the runs behind all figures, or the named ones, which takes minutes.
"""

import argparse
import sys

import figures
import pages

from handgrad.system.errors import InputError


def main() -> int:
    parser = argparse.ArgumentParser(prog="lessons", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--measure", nargs="*", metavar="FIGURE", choices=[*figures.FIGURES, []])
    arguments = parser.parse_args()
    if arguments.check and arguments.measure is not None:
        parser.error("--check changes nothing, so it cannot go with --measure")
    if arguments.measure is not None:
        for name in arguments.measure or figures.FIGURES:
            figures.measure(name)
    changed, tables = [], figures.tables()
    for name in figures.FIGURES:
        for path, picture in figures.drawn(name).items():
            if not figures.is_current(path, picture):
                changed.append(path)
            if not arguments.check:
                path.write_text(picture, encoding="utf-8")
    for name in pages.PAGES:
        path = pages.page_path(name)
        before = path.read_text(encoding="utf-8")
        after = pages.filled(before, name, tables)
        if after != before:
            changed.append(path)
            if not arguments.check:
                path.write_text(after, encoding="utf-8")
    for path in changed:
        print(f"{path.relative_to(pages.ROOT)} {'would change' if arguments.check else 'is updated'}")
    return int(arguments.check and bool(changed))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (pages.PageError, InputError) as error:
        sys.exit(f"lessons: {error}")
