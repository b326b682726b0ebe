"""The configuration of the documentation site (`make docs`).

The site is the Markdown of this folder, as a plain repository viewer shows it, and the docstrings of the package. The
lists of links in `index.md` are its table of contents, so that neither repeats the other.
"""

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent

project = "nlstm_jax"
copyright = "the authors of nlstm_jax, Apache License 2.0"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]

# Pages.
html_theme = "furo"
html_title = "nlstm_jax"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
highlight_language = "none"
myst_heading_anchors = 4
nb_execution_mode = "off"

# Docstrings: Google style, with code in single backticks.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "special-members": "__call__", "no-value": True}
autoclass_content = "both"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

# Names in annotations and in backticks link where there is such a public name. Every other reference must be found.
nitpicky = True
nitpick_ignore_regex = [("py:(class|obj)", ".*")]

# The pages that belong below another page, beside those that `index.md` lists.
BELOW = {
    "cells": ["cells/*"],
    "results/README": ["results/**/*"],
    "api/README": ["api/*"],
    "index": ["notebooks/*"],
}

HIDDEN_COLON = "\ue000"
"""A character that no docstring has."""


def pages(pattern: str, *, without: set[str]) -> list[str]:
    """Return the names of all pages that match a pattern, sorted."""
    paths = [path for path in HERE.glob(pattern) if path.suffix in (".md", ".ipynb")]
    names = {path.relative_to(HERE).with_suffix("").as_posix() for path in paths}
    return sorted(names - without)


def toctree(caption: str, names: list[str]) -> str:
    """Return a hidden table of contents in MyST's Markdown."""
    options = [":hidden:"]
    if caption:
        options.append(f":caption: {caption}")
    entries = [f"/{name}" for name in names]
    return "\n".join(["", "", "```{toctree}", *options, "", *entries, "```", ""])


def title(name: str) -> str:
    """Return the title of a page that a command has written without one, e.g. `stocks: baselines`."""
    *folders, page = name.removeprefix("results/").split("/")
    if page != "compare":
        folders.append(page)
    return ": ".join(folders).replace("_", " ")


def linked(section: str) -> list[str]:
    """Return the names of the pages that begin the items of a section's list."""
    return re.findall(r"^- \[[^\]]+\]\(([^):#]+)\.(?:md|ipynb)\)", section, re.MULTILINE)


def add_title(app: "Sphinx", name: str, source: list[str]) -> None:
    """Put a title above the page of a result that has none, when it is read."""
    if name.startswith("results/") and not re.search("^# ", source[0], re.MULTILINE):
        source[0] = f"# {title(name)}\n\n{source[0]}"


def add_toctrees(app: "Sphinx", name: str, source: list[str]) -> None:
    """Append the tables of contents to a page that has any, when it is read."""
    sections = {}
    if name == "index":
        for section in source[0].split("\n## ")[1:]:
            sections[section.partition("\n")[0]] = linked(section)
    listed = {page for names in sections.values() for page in names}
    below = [page for pattern in BELOW.get(name, []) for page in pages(pattern, without={name} | listed)]
    caption = "Notebooks" if name == "index" else ""
    for heading, names in {caption: below, **sections}.items():
        if names:
            source[0] += toctree(heading, names)


def pages_with_toctrees(app: "Sphinx", *_: object) -> list[str]:
    """Have the pages with tables of contents read in every build, as other pages come and go."""
    return [*BELOW]


def indented_code(app: "Sphinx", what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Make an indented paragraph of a docstring code, as it is in Markdown.

    What Python says about the constructor of a NamedTuple is left out.
    """
    text = "\n".join(line for line in lines if not line.startswith("Create new instance of "))
    text = re.sub(r"(?<=\n\n)((?:    .*\n)+)", r"::\n\n\1", text)
    lines[:] = text.split("\n")
    if what in ("attribute", "data", "property"):
        # Napoleon takes what is before a colon in the first line of an attribute for its type.
        lines[0] = lines[0].replace(":", HIDDEN_COLON)


def show_colons(app: "Sphinx", what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Put back the colons that `indented_code` has hidden from napoleon."""
    lines[:] = [line.replace(HIDDEN_COLON, ":") for line in lines]


def signature(
    app: "Sphinx", what: str, name: str, value: type, options: object, arguments: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Show a module of Flax with the arguments of its own `__init__`, and array types as they are written."""
    if what == "class" and arguments == "(*args: Any, **kwargs: Any)":
        from sphinx.util.inspect import stringify_signature

        own = inspect.signature(value.__init__)
        without_self = own.replace(parameters=list(own.parameters.values())[1:], return_annotation=own.empty)
        arguments = stringify_signature(without_self, unqualified_typehints=True)
    return written(arguments), written(returned)


def written(annotations: str | None) -> str | None:
    """Return annotations with the names of `nlstm_jax.types`."""
    if annotations is None:
        return None
    annotations = annotations.replace("jaxlib._jax.Array", "Array").replace("~jaxtyping.", "")
    return annotations.replace("Key[Array, ''] | UInt32[Array, '2'] | UInt32[Array, '4']", "PRNGKeyArray")


def is_field_of_named_tuple(
    app: "Sphinx", what: str, name: str, value: object, skip: bool, options: object
) -> bool | None:
    """Leave out the fields of a NamedTuple, which its signature shows with their shapes."""
    return True if type(value).__name__ == "_tuplegetter" else None


def forget_overloads(app: "Sphinx") -> None:
    """Show functions with overloads with the signature of their definition, which has the shapes."""
    from sphinx.pycode import ModuleAnalyzer

    for module in ("nlstm_jax.unroll.api", "nlstm_jax.cells.protocol"):
        analyzer = ModuleAnalyzer.for_module(module)
        analyzer.analyze()
        analyzer.overloads.clear()


def setup(app: "Sphinx") -> None:
    app.connect("builder-inited", forget_overloads)
    app.connect("env-get-outdated", pages_with_toctrees)
    app.connect("source-read", add_title)
    app.connect("source-read", add_toctrees)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", is_field_of_named_tuple)
    app.connect("autodoc-process-docstring", indented_code, priority=400)
    app.connect("autodoc-process-docstring", show_colons, priority=600)
