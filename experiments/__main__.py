"""The command `nlstm`, which runs a script of this folder by its name: `nlstm train --help`."""

import ast
import difflib
import runpy
import sys
from pathlib import Path

_FOLDER = Path(__file__).parent
_INTERNAL = ("trials",)
"""The scripts that other scripts start."""


def main() -> None:
    """Run the script that the command line names, with the remaining arguments, or list the scripts."""
    descriptions = _describe_scripts()
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        width = max(map(len, descriptions))
        print("usage: nlstm SCRIPT [flags], and nlstm SCRIPT --help for its flags\n")
        for script, description in descriptions.items():
            print(f"  {script:<{width}}  {description}")
        return
    if name not in descriptions:
        similar = difflib.get_close_matches(name, descriptions, n=1)
        hint = f"; did you mean {similar[0]!r}?" if similar else ""
        print(f"nlstm: one of {', '.join(descriptions)} expected, found {name!r}{hint}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [sys.argv[0], *sys.argv[2:]]
    runpy.run_module(f"{__package__}.{name}", run_name="__main__", alter_sys=True)


def _describe_scripts() -> dict[str, str]:
    """Return the first line of each script's docstring by the script's name. No script is imported."""
    descriptions = {}
    for path in sorted(_FOLDER.glob("*.py")):
        if not path.stem.startswith("_") and path.stem not in _INTERNAL:
            docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            descriptions[path.stem] = docstring.partition("\n")[0]
    return descriptions


if __name__ == "__main__":
    main()
