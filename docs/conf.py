"""How Sphinx builds these pages: `make docs`."""

import sys
import tomllib
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "pictures")]

from paper import STYLE  # noqa: E402
from readme import write_section  # noqa: E402

project = "roicy"
author = "the roicy developers"
copyright = "the roicy developers"
version = release = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"]

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_generated", "examples", "embedding/*.py", "gallery/*.ipynb"]
default_role = "py:obj"
add_module_names = False
toc_object_entries = False

# Docstrings: a page for each function, parameters as they are written.
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False

# Pictures are drawn while the pages are built.
plot_formats = [("png", 160)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_include_source = False
plot_rcparams = STYLE
plot_apply_rcparams = True

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "within_subsection_order": "FileNameSortKey",
    "filename_pattern": r"/plot_",
    "reference_url": {"roicy": None},
    "backreferences_dir": "_generated/backreferences",
    "doc_module": ("roicy",),
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": 10,
    "remove_config_comments": True,
    "image_scrapers": ("matplotlib",),
    "matplotlib_animations": False,
    "plot_gallery": True,
}

# What the examples in docstrings and pages take for granted.
doctest_global_setup = "import numpy as np; import roicy"
doctest_test_doctest_blocks = "default"
trim_doctest_flags = True

# A click copies a block, without prompts and results.
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

linkcheck_timeout = 20
linkcheck_retries = 2

# Pages that have no others beside them to list.
WIDE = (
    "start",
    "want",
    "conventions",
    "features",
    "crops",
    "recipes",
    "huge",
    "machines",
    "embedding",
    "gpu",
    "speed",
    "determinism",
)

html_theme = "pydata_sphinx_theme"
html_title = "roicy"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["roicy.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "roicy"},
    "navbar_align": "left",
    "navbar_end": ["search-button", "theme-switcher"],
    "navbar_persistent": [],
    "header_links_before_dropdown": 6,
    "show_prev_next": True,
    "secondary_sidebar_items": {page: ["page-toc"] for page in (*WIDE, "api")},
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "show_toc_level": 2,
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
}
html_sidebars = {page: [] for page in (*WIDE, "errors", "faq", "news", "zero", "gallery/*")}

# matplotlib without a screen says so when an example shows a figure.
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")

# Tables that are read elsewhere, too, without a second copy that ages.
write_section(HERE / "measured.md", "Measured", HERE / "_generated" / "measured.inc")
write_section(HERE.parent / "README.md", "Beside other systems", HERE / "_generated" / "features.inc")
