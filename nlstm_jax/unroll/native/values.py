"""Values of a step as rows and columns, and operations on them: what loop.cc runs."""

from typing import NamedTuple

UNARY = [
    *["copy", "neg", "abs", "sign", "exp", "expm1", "log", "log1p", "tanh", "logistic", "sqrt", "rsqrt", "sin", "cos"],
    *["erf", "not", "square", "floor", "ceil"],
]
BINARY = ["add", "sub", "mul", "div", "max", "min", "pow", "eq", "ne", "lt", "le", "gt", "ge", "and", "or"]
TERNARY = ["select_n", "clamp"]
REDUCTIONS = ["reduce_sum", "reduce_max", "reduce_min"]
OPERATIONS = [*UNARY, *BINARY, *TERNARY, *REDUCTIONS, "matmul"]
"""The operations in the order of loop.cc."""
NUMBER = {name: number for number, name in enumerate(OPERATIONS)}

ARGUMENT, RESULT, THREAD, CHUNK, LITERAL = range(5)
"""Where a value lives, in the order of loop.cc."""
NO_OPERAND = (-1, 0, 0)
"""No operand."""


class UnsupportedError(ValueError):
    """A step that the native loop cannot run. Its message names the operation."""

    def __init__(self, found: str):
        super().__init__(f"unroll: mode='native': operations on rows of a batch expected, found {found}")


class Value:
    """A value [rows, width] of a step.

    Attributes:
        width: Its number of columns.
        space: `ARGUMENT`, `RESULT`, `THREAD`, `CHUNK` or `LITERAL`; None: not decided.
        index: The number of its argument, result or literal.
        over_time: True if the argument or result has a leading axis for time.
        per_row: False if all rows are the same.
        parent: The view that holds it, if it is a part of a wider value.
        segments: The segments that write or read it.
    """

    def __init__(self, width: int, space: int | None = None, index: int = 0, *, over_time: bool = False):
        self.width = width
        self.space = space
        self.index = index
        self.over_time = over_time
        self.per_row = True
        self.parent: View | None = None
        self.segments: set[int] = set()

    @property
    def root(self) -> "Value":
        """The value whose memory holds this one."""
        return self if self.parent is None else self.parent.value.root


class View(NamedTuple):
    """Columns of a value.

    Attributes:
        value: The value.
        offset: Its first column.
        width: The number of columns.
        repeated: True if the value has one column, which stands for all of them.
    """

    value: Value
    offset: int
    width: int
    repeated: bool = False

    def columns(self, offset: int, width: int) -> "View":
        """Return some of the columns."""
        if self.repeated:
            return self._replace(width=width)
        return View(self.value, self.offset + offset, width)

    def spread(self, width: int) -> "View":
        """Return one column as `width` equal ones."""
        if self.width == width:
            return self
        return View(self.value, self.offset, width, repeated=True)


class Instruction(NamedTuple):
    """One operation on rows.

    Attributes:
        name: One of `OPERATIONS`.
        width: The number of columns of its result, or of the operand of a reduction.
        out: The result.
        inputs: The operands; of a matmul: the factor, and what is added to the product or None.
        weight: The number of the weight of a matmul.
        inner: The length of the axis that a matmul sums over.
    """

    name: str
    width: int
    out: View
    inputs: tuple[View | None, ...]
    weight: int = 0
    inner: int = 0


class Weight(NamedTuple):
    """A weight [inner, columns] of matmuls, in an argument: the fields of loop.cc."""

    argument: int
    inner: int
    columns: int
    inner_stride: int
    column_stride: int
