"""Arguments that do not belong in a call, and how arrays lie in memory."""

import math

from hypothesis import strategies as st

from fuzz.calls import ODD

MEMORY = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {},
        optional={
            "order": st.sampled_from(["F", "mixed"]),
            "step": st.integers(2, 3),
            "flip": st.just(True),
            "shift": st.sampled_from([1, 2, 4, 8, 12]),
            "pad": st.sampled_from([1, 2, 4, 16]),
        },
    ),
)
INPUT_MEMORY = st.one_of(MEMORY, st.fixed_dictionaries({"repeat": st.just(True)}))

INTEGERS = [0, -1, 1, 2, 3, 7, 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, -(2**31), -(10**30)]
REALS = [0.0, -0.0, 1.0, 0.5, 1.5, -1.0, 1e-46, 5e-324, 1e300, 1e38, math.nan, math.inf, -math.inf]
WORDS = [
    "avg",
    "max",
    "nan",
    "NCHW",
    "NHWC",
    "nhwc",
    "degrees",
    "radians",
    "round",
    "none",
    "sum",
    "onnx",
    "",
]
SCALARS = [("int8", 1), ("uint64", 2**64 - 1), ("float32", 0.5), ("float16", 2), ("complex64", 1)]
STRANGE_DTYPES = ["bool", "int32", "int64", "uint32", "float16", "float32", "float64", "complex64", "S3"]
STRANGE_SHAPES = [
    [],
    [0],
    [5],
    [1, 4],
    [2, 5],
    [0, 5],
    [1, 6],
    [3, 0],
    [2, 3, 4],
    [1, 1, 1, 1],
    [0, 0, 0, 0],
    [1, 2, 3, 4, 5],
]

HOSTILE_ARRAYS = st.fixed_dictionaries(
    {"dtype": st.sampled_from(STRANGE_DTYPES), "shape": st.sampled_from(STRANGE_SHAPES)},
    optional={"memory": INPUT_MEMORY, "writeable": st.just(False), "foreign": st.just(True)},
).map(lambda content: {"array": content})

HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(INTEGERS),
    st.sampled_from(REALS),
    st.sampled_from(WORDS),
    st.sampled_from(sorted(ODD)).map(lambda name: {"odd": name}),
    st.sampled_from(SCALARS).map(lambda scalar: {"scalar": list(scalar)}),
    HOSTILE_ARRAYS,
    st.lists(st.one_of(st.sampled_from(INTEGERS), st.sampled_from(REALS), HOSTILE_ARRAYS), max_size=5),
    st.lists(st.integers(-2, 5), max_size=5).map(lambda items: {"tuple": items}),
)

# Results are small, or larger than any memory, so that the outcome does not depend on the machine.
SIZES = [
    0,
    -1,
    1,
    64,
    True,
    2.0,
    None,
    [3],
    [3, 0],
    [3, 4, 5],
    [2**31, 1],
    {"tuple": [2, -1]},
    "7",
    {"odd": "object"},
    10**30,
]
SHAPES = [
    [1, 2, 3],
    [1, 2, 3, 4],
    [0, 0, 0, 0],
    [1, -1, 3, 3],
    [1, 2, 2**31, 3],
    [1, 2.0, 3, 3],
    [1, 3, 0, 5],
    None,
    5,
    [True] * 4,
]
BEYOND_MEMORY = [[2**60, 2, 3, 3], [10**30, 2, 3, 3], [1, 2**62, 3, 3], [2, 2, 2**31 - 1, 2**31 - 1]]
