"""Sphinx configuration; ``make docs`` builds with warnings as errors, offline."""

import re

import xatmo

project = "xatmo"
author = "xatmo developers"
copyright = "xatmo developers"
version = release = xatmo.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "gallery"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

# Docstrings put names of code between single backticks.
default_role = "literal"
# Shapes such as (nlat, nlon) in types are no references, though attributes of two classes have these names.
suppress_warnings = ["ref.python"]
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_typehints = "none"  # the signatures have them; the text says shape and unit
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}

sphinx_gallery_conf = {
    "examples_dirs": ["gallery"],
    "gallery_dirs": ["auto_gallery"],
    "filename_pattern": r"plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    "ignore_repr_types": r"matplotlib|numpy\.ndarray",  # what draws returns axes, and the picture is there
    "plot_gallery": True,
}

html_theme = "furo"
html_title = f"xatmo {version}"
html_show_sourcelink = False


def plain(app, what, name, obj, options, lines):
    """Read docstrings as text: numbered sources are no link targets, an asterisk before a name opens no emphasis."""
    source = False
    for i, line in enumerate(lines):
        line = re.sub(r"\[(\d+)\]_", r"[\1]", line)
        begins = line.startswith(".. [")
        if source and not begins:  # a source of several lines is one paragraph, and no list of definitions
            source = line.startswith("   ")
            line = line.strip() if source else line
        source = source or begins
        line = re.sub(r"^\.\. (\[\d+\])", r"\1", line)
        parts = re.split(r"(``.*?``)", line)
        parts[::2] = [re.sub(r"(?<![\w*\\])\*(?=\w)(?![^*\s]*\w\*)", r"\\*", part) for part in parts[::2]]
        lines[i] = "".join(parts)


def setup(app):
    app.connect("autodoc-process-docstring", plain, priority=400)  # before napoleon
