"""No function has more than eight parameters: arguments that belong together are one object."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "roicy"
MOST = 8

pytestmark = pytest.mark.skipif(not SOURCE.is_dir(), reason="the sources are not beside the tests")


def without_comments(text, suffix):
    if suffix in (".pyx", ".pxd"):
        return re.sub(r'"""[\s\S]*?"""|#.*', "", text)
    return re.sub(r"/\*[\s\S]*?\*/|//.*", "", text)


def split(parameters):
    """The parameters of a list, whose types may have lists of their own."""
    depth, parts = 0, [""]
    for letter in parameters:
        depth += (letter in "([{<") - (letter in ")]}>")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip() and part.strip() != "void"]


def closing(text, opening):
    """Where the parenthesis that opens there is closed."""
    depth = 0
    for at in range(opening, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at
    return len(text)


def macros_of(paths):
    """What macros stand for that are lists of parameters."""
    found = {}
    for path in paths:
        text = without_comments(path.read_text(encoding="utf-8"), path.suffix).replace("\\\n", " ")
        for name, _, body in re.findall(r"^#define (\w+)(\([^)]*\))? +(.*)$", text, re.MULTILINE):
            if "," in body and not re.search(r"[;{}]", body):
                found[name] = body
    return found


def width(parameter, macros):
    """How many parameters one is that may be a macro's."""
    name = re.match(r"\w+", parameter)
    if not name or name[0] not in macros or not re.fullmatch(r"\w+\s*(\(.*\))?", parameter, re.DOTALL):
        return 1
    return sum(width(part, macros) for part in split(macros[name[0]]))


def functions_in_python(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            # not those that are always named: nobody counts along them
            arguments = [*node.args.posonlyargs, *node.args.args]
            yield node.name, len(arguments) - (arguments[:1] != [] and arguments[0].arg in ("self", "cls"))


def functions_in_cython(text):
    for head in re.finditer(
        r"^ *(?:cdef|cpdef|def)\b[^\n=(]*?(\w+) *\(|^    (?!return\b)[\w ]+[ *]+(\w+)\(", text, re.MULTILINE
    ):
        yield head[head.lastindex], text[head.end() : closing(text, head.end() - 1)]


def functions_in_c(text):
    text = re.sub(r"^ *#.*(?:\\\n.*)*", "", text, flags=re.MULTILINE)
    depth = end = 0
    for head in re.finditer(r"(\w+) *\(|[{}]", text):
        depth += (head[0] == "{") - (head[0] == "}")
        if head[1] and depth == 0 and head.start() >= end:
            end = closing(text, head.end() - 1)
            if re.match(r"\s*[{;]", text[end + 1 :]):
                yield head[1], text[head.end() : end]


def functions_in(path, macros):
    """(name, number of parameters) of a file's functions."""
    if path.suffix in (".py", ".pyi"):
        yield from functions_in_python(path)
        return
    text = without_comments(path.read_text(encoding="utf-8"), path.suffix)
    found = functions_in_cython(text) if path.suffix in (".pyx", ".pxd") else functions_in_c(text)
    for name, parameters in found:
        each = [parameter for parameter in split(parameters) if parameter != "self"]
        yield name, sum(width(parameter, macros) for parameter in each)


def sources():
    suffixes = {".py", ".pyi", ".pyx", ".pxd", ".h", ".cu", ".cuh"}
    return [path for path in sorted(SOURCE.rglob("*")) if path.suffix in suffixes]


def folder_of(path):
    return path.parent.relative_to(SOURCE).as_posix()


FOLDERS = sorted({folder_of(path) for path in sources()})


@pytest.mark.parametrize("folder", FOLDERS)
def test_number_of_parameters(folder):
    paths = [path for path in sources() if folder_of(path) == folder]
    macros = macros_of([path for path in sources() if path.suffix in (".h", ".cuh")])
    many = {
        f"{path.name}: {name}": count
        for path in paths
        for name, count in functions_in(path, {**macros, **macros_of([path])})
        if count > MOST
    }
    assert not many


@pytest.mark.parametrize(
    ("suffix", "text", "expected"),
    [
        (".pyx", "cdef inline int f(View* view, (int, int) x, A b) noexcept nogil:\n    pass\n", [("f", 3)]),
        (
            ".pxd",
            "cdef extern from 'x.h' nogil:\n    void g(const lanes* a, int b, int c) noexcept\n",
            [("g", 3)],
        ),
        (
            ".pyx",
            "cdef class A:\n    cdef int h(self, int a,\n               int b) except -1:\n",
            [("h", 2)],
        ),
        (
            ".h",
            "INLINE void f(const int *a, /* b, */ int b,\n  void (*c)(int, int)) {\n g(1, 2, 3);\n}\n",
            [("f", 3)],
        ),
        (".pyx", "cdef A f() noexcept:\n    return B(a=1, b=2, c=3)\n", [("f", 0)]),
        (".h", "static int f(void) { return 0; }\n", [("f", 0)]),
        (".cuh", "__global__ void f(PAIR(a), int b) {}\n", [("f", 4)]),
        (".py", "class A:\n    def f(self, a, b=1, *, c): ...\n", [("f", 2)]),
    ],
)
def test_counting(tmp_path, suffix, text, expected):
    path = tmp_path / f"source{suffix}"
    path.write_text(text, encoding="utf-8")
    assert list(functions_in(path, {"PAIR": "int name, TWO(name)", "TWO": "int a, int b"})) == expected
