"""The documentation site: `make docs`. Pages are the Markdown files of the repository, read where they lie."""

import os

os.environ.setdefault("NUMBA_DISABLE_JIT", "1")  # docstrings need no compiled code

import numba  # noqa: F401  (reads the variable now)

import vcpu_env

del os.environ["NUMBA_DISABLE_JIT"]  # the notebook's own process compiles

project = "vcpu_env"
copyright = "The vcpu_env authors"  # noqa: A001
author = "The vcpu_env authors"
version = release = vcpu_env.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]

root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "docs/**.ipynb",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "AGENTS.md",
    "GLOSSARY.md",
    "agents/models/*.md",
    "experiments/*/README.md",
]
exclude_patterns = ["**/.venv*/**", "build/**"]

nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"vcpu_env {version}"
html_extra_path = ["site"]
html_theme_options = {"navigation_with_keys": True}
html_show_sphinx = False
