"""Sphinx builds docs/ as a site: `sphinx-build -W --keep-going -n docs docs/_build/html`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_extensions")]

project = "vidjax"
author = "the authors of vidjax"
project_copyright = author
html_title = "vidjax"
html_theme = "furo"
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
exclude_patterns = ["_build", "_extensions", "**/.ipynb_checkpoints"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "generated_pages",
    "plain_docstrings",
]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# The notebooks are stored without outputs and executed with every build.
nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_in_temp = False
nb_output_stderr = "remove"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_attr_annotations = False  # the signature of the class has them

# Names of other packages have no pages here, and the build looks nothing up on the network. Of vidjax's own, type
# variables and what is private have none either.
nitpick_ignore_regex = [
    ("py:.*", r"(jax|jaxlib|flax|optax|orbax|grain|numpy|np|pandas|pd|ml_collections|jaxtyping|absl|logging)(\..*)?"),
    (
        "py:.*",
        r"(argparse|array_record|av|collections|concurrent|contextlib|ctypes|decord|dataclasses|datetime|enum)(\..*)?",
    ),
    ("py:class", r"ndarray"),  # as jaxtyping names NumPy's
    ("py:exc", r"UnpicklingError"),
    ("py:class", r"vidjax\..*\._\w+"),
    (
        "py:(class|obj)",
        r"vidjax\.(system\.terminal\.Item|training\.checkpoints\.State|training\.initial_values\.Result)",
    ),
    (
        "py:.*",
        r"(abc|functools|io|matplotlib|multiprocessing|os|pathlib|pickle|queue|re|rich|threading|types|typing|zipfile|PIL)"
        r"(\..*)?",
    ),
]
