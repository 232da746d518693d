"""make study study=NAME, make reproduce recipe=NAME/ROW, make labbook."""

import sys

from inkwash.errors import UserError
from labbook import board, page, reproduce, results, runner
from labbook.study import Study, all_studies

NEEDED = {"study": ("study", "predictions"), "reproduce": ("recipe", "predictions/v")}  # target -> key, an example


def main(words: list[str]) -> None:
    """Run study=NAME or recipe=NAME/ROW with overrides for this machine; without words write all pages anew.

    The first word may be `study` or `reproduce`, which tell that this is not about the pages.
    """
    target, words = (words[0], words[1:]) if words and words[0] in NEEDED else ("", words)
    named = dict(word.split("=", 1) for word in words if word.partition("=")[0] in ("study", "recipe"))
    local = [word for word in words if word.partition("=")[0] not in named]
    try:
        if target and NEEDED[target][0] not in named:
            key, example = NEEDED[target]
            raise UserError(f"make {target}: pass {key}={example}; experiments/README.md has a list of the studies")
        if "recipe" in named:
            sys.exit(0 if reproduce.reproduce(named["recipe"], local) else 1)
        if "study" in named:
            study = Study.load(named["study"])
            runner.run(study, local, after=lambda: results.add(study))
            if study.grids:
                results.copy_grids(study)
        elif local:
            raise UserError(f"{' '.join(local)}: pass study=NAME or recipe=NAME/ROW too")
        for study in all_studies():
            page.write(study, results.read(study))
        board.write()
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
