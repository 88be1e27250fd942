"""Records of the operators. The tests in `promises` run on every record."""

import battery
import pytest

from operators.average import AVERAGE
from operators.crop import CROP
from operators.deform import DEFORM
from operators.largest_sample import MAX
from operators.operator import Operator
from operators.position_sensitive import PS_ALIGN, PS_POOL
from operators.precise import PRECISE
from operators.rmac import RMAC
from operators.roi_pool import MEAN, POOL
from operators.rotated import ROTATED

OPERATORS = (AVERAGE, MAX, ROTATED, POOL, MEAN, PRECISE, PS_ALIGN, PS_POOL, DEFORM, CROP)


def those(operators: "tuple[Operator, ...] | list[Operator]") -> pytest.MarkDecorator:
    """Run a test for each of these operators."""
    return pytest.mark.parametrize("operator", operators, ids=str)


of_all = those(OPERATORS)
#: Those with a gradient of boxes; those with a plan.
of_sloped = those([operator for operator in OPERATORS if operator.has_slopes])
of_planned = those([operator for operator in OPERATORS if operator.planned])
#: Those, and what is given maps alone, each with its cases of the battery.
EVERY = (*OPERATORS, RMAC)
BATTERY = [
    (operator, case)
    for operator in EVERY
    for case in (battery.SELECTION if operator.slow else battery.CASES)
    if battery.takes(operator, case)
]


def of_battery(pairs: "list[tuple[Operator, battery.Case]]") -> pytest.MarkDecorator:
    """Run a test for each of these pairs of an operator and a case."""
    return pytest.mark.parametrize("operator, case", pairs, ids=lambda value: value.name)
