"""Which extensions there are, and with which flags: one source, compiled for each CPU level and precision."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import tomllib
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGE = Path("src/roicy")
MSVC = sys.platform == "win32"
X86 = platform.machine().lower() in ("x86_64", "amd64")

# Without contraction, results differ between paths and levels only where the source asks for it.
FLAGS = (
    ["/O2", "/fp:precise"]
    if MSVC
    else ["-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
)
# For a small wheel: no tables to unwind stacks (nothing here does), and short code for what runs once a call.
SMALLER = [] if MSVC else ["-fno-asynchronous-unwind-tables"]
SHORT = ["/O1"] if MSVC else ["-Os"]
# no symbols, and no pages of zeros between code and data
STRIPPED = ["-Wl,-s,-z,noseparate-code"]
# -O3 makes none of these tables faster, and those of rotated boxes slower.
PLAIN = [] if MSVC else ["-O2"]
PLAIN_TABLES = ("cpu.tables.range", "cpu.tables.sample", "cpu.tables.mask", "cpu.tables.quad")

# Builds that check themselves and end the process on an error; ROICY_BUILD chooses one. "debug" has the
# assertions of checks.h, "sanitize" has gcc's sanitizers as well. Their flags come last.
SANITIZERS = ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]
GCC_CHECKED = {
    "debug": ["-Og", "-g", "-D_FORTIFY_SOURCE=2"],
    # Python's own flags may define signed overflow, which would then not be reported
    "sanitize": ["-O1", "-g", "-fno-omit-frame-pointer", "-fstrict-overflow", *SANITIZERS],
}
CHECKED = {} if MSVC else GCC_CHECKED
# "phases" is a release whose kernels measure the time of their parts, which costs a few per cent.
BUILDS = ["release", "phases", *CHECKED]
BUILD = os.environ.get("ROICY_BUILD") or "release"
if BUILD not in BUILDS:
    sys.exit(f"ROICY_BUILD={BUILD!r} is no build; known here are {', '.join(BUILDS)}")
MACROS = ["ROICY_CHECKS"] if BUILD in CHECKED else ["ROICY_PHASES"] if BUILD == "phases" else []

GCC_LEVELS = {
    "v3": ["-mavx2", "-mfma", "-mf16c", "-mbmi2"],
    "v4": [
        "-mavx2",
        "-mfma",
        "-mf16c",
        "-mbmi2",
        "-mavx512f",
        "-mavx512bw",
        "-mavx512cd",
        "-mavx512dq",
        "-mavx512vl",
    ],
}
# An extension has many kernels. With these limits GCC inlines as if each kernel had an extension of its own.
# Copies of loops and of long code are off: they were a twentieth of the wheel and made nothing faster.
INLINING = ["--param", "large-unit-insns=1000000", "--param", "max-inline-insns-single=70"]
INLINING += [
    f"-fno-{copies}"
    for copies in (
        *("unswitch-loops", "split-loops", "split-paths", "ipa-cp-clone", "version-loops-for-strides"),
        *("tree-loop-distribution", "tree-partial-pre", "predictive-commoning", "gcse-after-reload"),
        *("align-functions", "align-jumps", "align-labels", "align-loops"),
    )
]
MSVC_LEVELS = {"v3": ["/arch:AVX2"], "v4": ["/arch:AVX512"]}
LEVELS = {"baseline": [], **((MSVC_LEVELS if MSVC else GCC_LEVELS) if X86 else {})}
# While you work on a kernel, one level is enough: ROICY_LEVELS=v4. Releases have all levels.
CHOSEN = (os.environ.get("ROICY_LEVELS") or ",".join(LEVELS)).split(",")
if not set(CHOSEN) <= set(LEVELS):
    sys.exit(f"ROICY_LEVELS={','.join(CHOSEN)!r}: known here are {', '.join(LEVELS)}")
LEVELS = {level: LEVELS[level] for level in CHOSEN}
PRECISIONS = {"f32": [], "f64": ["ROICY_DOUBLE"]}
TABLES = [f"cpu.tables.{name}" for name in ("rois", "axis", "grid", "range", "sample", "mask", "quad")]
ONCE_A_CALL = [
    "cython_api",
    "cpu.crops_again",
    *(f"cpu.runtime.{name}" for name in ("calls", "memory", "outputs", "parallel", "rectangles", "work")),
    "cpu.threads",
    "cpu.processor",
]

# Functions of the kernels' C text that Python calls, once a call: gcc compiles these for size, the loops for
# speed.
KERNELS = PACKAGE / "cpu" / "apply" / "kernels.pyx"
ENTRY = re.compile(r"^static (?=PyObject \*__pyx_p[wf]_)", re.MULTILINE)

# Folders of C headers; those of geometry are included with their folder's name.
HEADERS = [str(PACKAGE), *(str(PACKAGE / "cpu" / folder) for folder in ("lanes", "runtime"))]

OPENMP_PROBE = """
#include <omp.h>
int main(void) {
    int threads = 0;
#pragma omp parallel num_threads(2) reduction(+ : threads)
    threads += 1;
    return threads == 2 && omp_get_max_threads() > 0 ? 0 : 1;
}
"""


def extension(name, source, flags=(), macros=()):
    """Return the extension roicy.NAME, built from a source of the package: "cpu.work" from cpu/work.pyx."""
    source = PACKAGE.joinpath(*source.split(".")).with_suffix(".pyx")
    return Extension(
        f"roicy.{name}",
        [str(source)],
        include_dirs=[numpy.get_include(), *HEADERS, str(source.parent)],
        extra_compile_args=[*FLAGS, *flags, *CHECKED.get(BUILD, SMALLER)],
        define_macros=[
            ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),
            *((macro, None) for macro in (*macros, *MACROS)),
        ],
        # with the files that a source includes: this puts them into a source distribution
        depends=[str(path) for pattern in ("*.pyx", "*.pxd", "*.h") for path in PACKAGE.rglob(pattern)],
    )


class BuildKernels(build_ext):
    """Translate each source once, then compile it for each extension, all of them in parallel."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()
        self.translating = {True: threading.Lock(), False: threading.Lock()}
        self.tried = set()
        self.translated = {}

    def build_extensions(self):
        command = getattr(self.compiler, "compiler", None)  # None for MSVC, which needs no search
        if command and shutil.which(command[0]) is None:
            sys.exit(f"roicy is compiled, and no {command[0]} is found: install gcc, or name another in CC")
        openmp = self.openmp_flags()
        # clang lacks these parameters and only warns, so -Werror asks
        known = not MSVC and self.runs([*INLINING, "-Werror"], "int main(void) { return 0; }")
        inlining = INLINING if known else []
        for ext in self.extensions:
            threaded = openmp if ext.name in ("roicy.cpu.runtime.parallel", "roicy.cpu.threads") else []
            ext.extra_compile_args += threaded + inlining
            ext.extra_link_args += threaded if not MSVC else []
            ext.extra_link_args += STRIPPED if sys.platform == "linux" and BUILD not in CHECKED else []
            ext.extra_link_args += SANITIZERS if BUILD == "sanitize" else []
        super().build_extensions()

    def build_extension(self, ext):
        source = Path(ext.sources[0])
        generated = Path(self.build_temp) / f"{ext.name}.c"
        generated.parent.mkdir(parents=True, exist_ok=True)
        generated.write_text(self.text_of(source))
        ext.sources = [str(generated)]
        super().build_extension(ext)
        ext.sources = [str(source)]

    def get_export_symbols(self, ext):
        # the C text exports the module's init function itself; its name follows the source, not the extension
        return []

    def text_of(self, source):
        """Return the C text of a source, which all its extensions share: files of one module."""
        kernels = source == KERNELS
        with self.translating[kernels]:
            if kernels not in self.tried:
                self.tried.add(kernels)
                self.translate([other for other in SOURCES_OF_MODULES if (other == KERNELS) == kernels])
            if source not in self.translated:
                sys.exit(f"{source} is not translated, nor is what shares its process")  # cython says why
            return self.translated[source]

    def translate(self, sources):
        """Translate sources in one process, so that shared files are read once."""
        checks = BUILD in CHECKED
        folder = Path(self.build_temp)
        cython = [sys.executable, "-m", "cython", "-3", "-I", "src"]
        directives = f"boundscheck={checks},initializedcheck={checks},wraparound=False,cdivision=True"
        # signatures and docstrings are in the .pyi files, not in compiled functions
        directives += ",binding=False,auto_pickle=False"
        options = ["--no-docstrings", "-X", directives]
        options += ["--line-directives"] if checks else []  # so that reports name lines of .pyx files
        subprocess.run([*cython, *options, "-o", str(folder), *map(str, sources)], check=True)
        for source in sources:
            text = (folder / f"{source.stem}.c").read_text()
            cold = source == KERNELS and not MSVC
            self.translated[source] = ENTRY.sub("static __attribute__((cold)) ", text) if cold else text

    def openmp_flags(self):
        """Return the flags for OpenMP if a program built with them runs, else nothing."""
        if os.environ.get("ROICY_OPENMP", "1") == "0":
            return []
        flags = {"win32": ["/openmp"], "darwin": ["-Xpreprocessor", "-fopenmp", "-lomp"]}.get(
            sys.platform, ["-fopenmp"]
        )
        if self.runs(flags, OPENMP_PROBE):
            return flags
        print("roicy: building without OpenMP", file=sys.stderr)
        return []

    def runs(self, flags, program):
        """Return whether a C program that is built with these flags runs."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.c"
            source.write_text(program)
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=flags)
                self.compiler.link_executable(objects, str(Path(folder) / "probe"), extra_postargs=flags)
                subprocess.run([str(Path(folder) / "probe")], check=True, timeout=60)
            except Exception as error:  # any failure means that the flags do not work
                print(f"roicy: no {' '.join(flags)} ({error})", file=sys.stderr)
                return False
        return True


# Extensions that compile longest come first, so that no long one is left at the end.
extensions = [
    extension(f"cpu._kernels_{precision}_{level}", "cpu.apply.kernels", flags, macros)
    for precision, macros in PRECISIONS.items()
    for level, flags in LEVELS.items()
]
extensions += [extension(name, name, PLAIN if name in PLAIN_TABLES else ()) for name in TABLES]
extensions += [extension(name, name, SHORT) for name in ONCE_A_CALL]
SOURCES_OF_MODULES = sorted({Path(ext.sources[0]) for ext in extensions})


def front_page(sources):
    """Return README.md with full addresses of pictures and pages, to be read outside of the repository."""

    def absolute(match):
        kind = "raw" if match[1].startswith("!") else "blob"
        return f"{match[1]}({sources}/{kind}/v{VERSION}/{match[2]})"

    text = Path("README.md").read_text(encoding="utf-8")
    return re.sub(r"(!?\[[^\]]*\])\((?!https?:|#)([^)\s]+)\)", absolute, text) if sources else text


VERSION = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
# Address of the repository: set by the workflow that builds the wheels, empty in other builds.
SOURCES = os.environ.get("ROICY_REPOSITORY", "").rstrip("/")
PAGES = {"Source": "", "Changelog": f"/blob/v{VERSION}/CHANGELOG.md", "Issues": "/issues"}

setup(
    ext_modules=extensions,
    cmdclass={"build_ext": BuildKernels},
    long_description=front_page(SOURCES),
    long_description_content_type="text/markdown",
    project_urls={name: SOURCES + page for name, page in PAGES.items()} if SOURCES else {},
)
