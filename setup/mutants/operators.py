"""Makes small wrong changes of a Python file: one operator, one place, one mutant.

The operators stand for mistakes that people make: a limit off by one, a rule inverted or left out, a member
of a set forgotten, an argument not passed on, the first instead of the last. Texts, annotations, messages
of errors and what only speed depends on are left alone.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
EXCHANGED = {"min": "max", "max": "min", "any": "all", "all": "any"}
EXCHANGED |= {"argmin": "argmax", "argmax": "argmin", "floor": "ceil", "ceil": "floor", "mean": "sum"}
EXCHANGED |= {"union": "intersection", "intersection": "union", "idxmin": "idxmax", "idxmax": "idxmin"}
UNWRAPPED = {
    "sorted", "abs", "reversed", "round", "set", "unique", "sqrt", "log", "exp", "clip", "fillna", "strip",
    "lower", "upper", "casefold", "sort_values", "dropna", "drop_duplicates", "reset_index",
}  # fmt: skip
UNFELT = {
    "encoding", "strict", "exist_ok", "daemon", "copy", "timeout", "stacklevel", "name", "frozen",
    "max_workers", "workers", "indent", "newline", "help", "dir", "prefix", "suffix", "compression",
    "chunksize", "flush", "highlight", "num_parallel_calls", "frameon",
}  # fmt: skip
"""Arguments on which no result depends on this machine, but its speed or its looks."""


@dataclass(frozen=True)
class Mutant:
    """One wrong change: the bytes [start, end) of a file replaced."""

    path: str
    operator: str
    line: int
    start: int
    end: int
    text: str
    at_import: bool = False

    def apply(self, source: bytes) -> bytes:
        """Returns the source with the change."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def lines(self, source: bytes) -> tuple[str, str]:
        """Returns what stands there and what the mutant makes of it, each on one line."""
        first = source.rfind(b"\n", 0, self.start) + 1
        last = source.find(b"\n", self.end)
        last = len(source) if last < 0 else last
        became = source[first : self.start] + self.text.encode() + source[self.end : last]
        return flatten(source[first:last]), flatten(became)

    def identify(self, source: bytes) -> str:
        """Returns a name that stays while the lines around the change stay."""
        around = source[max(0, self.start - 200) : self.end + 200]
        words = (self.path, self.operator, self.text, around.decode(errors="replace"))
        return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def flatten(text: bytes) -> str:
    """Returns a piece of source on one line, with single blanks."""
    return " ".join(text.decode().split())


Change = tuple[str, ast.AST, str]
"""Operator, the node to be replaced, and by what text."""


def make_mutants(path: str, source: bytes) -> list[Mutant]:
    """Lists all mutants of a file, in the order of its lines."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    made = {}
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    bodies = [range(node.body[0].lineno, (node.end_lineno or 0) + 1) for node in functions]
    for operator, node, text in list_changes(tree):
        start = starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        end = starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        line = node.lineno  # type: ignore[attr-defined]
        at_import = not any(line in body for body in bodies)
        mutant = Mutant(path, operator, line, start, end, text, at_import)
        became = mutant.apply(source)
        if became != source and is_valid(became):
            made.setdefault(became, mutant)
    return sorted(made.values(), key=lambda mutant: (mutant.start, mutant.end, mutant.text))


def is_valid(source: bytes) -> bool:
    """Tells whether Python can parse a source."""
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def list_changes(tree: ast.AST) -> Iterator[Change]:
    """Yields every change of every node of a tree that is not only text or type."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if is_guard(node):
            continue
        for change in CHANGES.get(type(node), ()):
            yield from change(node)
        waiting += list_children(node)


def is_guard(node: ast.AST) -> bool:
    """Tells whether a branch is of types or of scripts: no test imports what depends on it."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in {
        "TYPE_CHECKING",
        "__name__ == '__main__'",
    }


def list_children(node: ast.AST) -> Iterator[ast.AST]:
    """Yields the children in which a wrong change could be noticed."""
    if isinstance(node, (ast.JoinedStr, ast.Raise, ast.Assert, ast.Import, ast.ImportFrom)):
        return
    if isinstance(node, ast.Subscript) and name_of(node.value) in {"Literal", "Annotated"}:
        return
    skipped: list[ast.AST] = []
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        skipped += node.decorator_list
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns:
        skipped.append(node.returns)
    if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation:
        skipped.append(node.annotation)
    if isinstance(node, ast.Call) and name_of(node.func) in {"cast", "TypeVar", "getLogger", "NewType"}:
        return
    if isinstance(node, ast.Call):
        skipped += [keyword for keyword in node.keywords if keyword.arg in UNFELT]
        skipped += node.args[1:] if name_of(node.func) == "round" else []
    yield from (child for child in ast.iter_child_nodes(node) if child not in skipped)


def name_of(node: ast.AST) -> str:
    """Returns the last word of a function's name, or "" where it has none."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def change_comparison(node: ast.Compare) -> Iterator[Change]:
    """Moves or inverts each comparison."""
    for place, kind in enumerate(node.ops):
        for other in COMPARISONS[type(kind)]:
            ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
            yield "comparison", node, wrap(ast.Compare(node.left, ops, node.comparators))


def change_logic(node: ast.BoolOp) -> Iterator[Change]:
    """Exchanges `and` and `or`, and leaves out each operand."""
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield "and/or", node, wrap(ast.BoolOp(other, node.values))
    for place in range(len(node.values)):
        rest = [*node.values[:place], *node.values[place + 1 :]]
        yield "operand left out", node, wrap(rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest))


def change_sign(node: ast.UnaryOp) -> Iterator[Change]:
    """Leaves out `not` and `-`."""
    if isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
        yield "sign or not left out", node, wrap(node.operand)


def change_arithmetic(node: ast.BinOp) -> Iterator[Change]:
    """Exchanges the operator by its opposite; texts that are added are left alone."""
    texts = any(
        isinstance(each, (ast.JoinedStr, ast.List)) or is_text(each) for each in (node.left, node.right)
    )
    if type(node.op) in ARITHMETIC and not texts:
        yield "arithmetic", node, wrap(ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right))


def is_text(node: ast.AST) -> bool:
    """Tells whether a node is a literal text."""
    return isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))


def change_constant(node: ast.Constant) -> Iterator[Change]:
    """Moves a number by one step, and inverts a truth value."""
    if isinstance(node.value, bool):
        yield "truth value", node, str(not node.value)
    elif isinstance(node.value, int):
        yield "number", node, str(node.value + 1)
        if node.value >= 1:
            yield "number", node, str(node.value - 1)
    elif isinstance(node.value, float):
        yield "number", node, repr(node.value * 1.25 if node.value else 0.25)


def change_branch(node: ast.If | ast.IfExp | ast.While) -> Iterator[Change]:
    """Takes a branch always, or never."""
    if not isinstance(node, ast.While):
        yield "branch always taken", node.test, "True"
    yield "branch never taken", node.test, "False"


def change_filter(node: ast.comprehension) -> Iterator[Change]:
    """Keeps everything that a comprehension's filter would leave out."""
    for test in node.ifs:
        yield "filter left out", test, "True"


def change_call(node: ast.Call) -> Iterator[Change]:
    """Exchanges or leaves out the function, and leaves out each named argument."""
    name = name_of(node.func)
    if name in EXCHANGED:
        func = ast.parse(ast.unparse(node.func)[: -len(name)] + EXCHANGED[name], mode="eval").body
        yield "function exchanged", node, wrap(ast.Call(func, node.args, node.keywords))
    if name in UNWRAPPED:
        method = isinstance(node.func, ast.Attribute) and not is_module(node.func.value)
        inner = node.func.value if method else node.args[0] if node.args else None  # type: ignore[attr-defined]
        if inner is not None and not isinstance(inner, ast.Starred):
            lists = {"sorted", "reversed", "set"}
            yield "function left out", node, f"list({ast.unparse(inner)})" if name in lists else wrap(inner)
    for place, keyword in enumerate(node.keywords):
        if keyword.arg and keyword.arg not in UNFELT:
            rest = [*node.keywords[:place], *node.keywords[place + 1 :]]
            yield "argument left out", node, wrap(ast.Call(node.func, node.args, rest))


def is_module(node: ast.AST) -> bool:
    """Tells whether a name is one of the modules whose functions we call by it."""
    return isinstance(node, ast.Name) and node.id in {"np", "math", "tf", "keras", "pd", "ops", "beam", "tft"}


def change_members(node: ast.List | ast.Tuple | ast.Set) -> Iterator[Change]:
    """Leaves out each member of a literal collection."""
    if isinstance(getattr(node, "ctx", ast.Load()), ast.Load) and len(node.elts) > 1:
        for place in range(len(node.elts)):
            rest = [*node.elts[:place], *node.elts[place + 1 :]]
            new = type(node)(elts=rest, ctx=ast.Load()) if not isinstance(node, ast.Set) else ast.Set(rest)
            yield "member left out", node, ast.unparse(new)


def change_table(node: ast.Dict) -> Iterator[Change]:
    """Leaves out each entry of a literal dictionary."""
    for place in range(len(node.keys)):
        keys, values = list(node.keys), list(node.values)
        del keys[place], values[place]
        yield "member left out", node, ast.unparse(ast.Dict(keys, values))


def change_index(node: ast.Subscript) -> Iterator[Change]:
    """Takes the last for the first, the first for the last, and all for a part."""
    if isinstance(node.ctx, ast.Load) and isinstance(node.slice, ast.Slice):
        yield "slice left out", node, ast.unparse(node.value)
    elif ast.unparse(node.slice) in {"0", "-1"}:
        yield "first or last", node.slice, "-1" if ast.unparse(node.slice) == "0" else "0"


def change_step(node: ast.stmt) -> Iterator[Change]:
    """Leaves out a statement that only has an effect."""
    if isinstance(node, ast.Expr):
        if not isinstance(node.value, (ast.Call, ast.Yield, ast.YieldFrom, ast.Await)) or is_logging(
            node.value
        ):
            return
    elif isinstance(node, ast.Assign) and not isinstance(node.targets[0], (ast.Attribute, ast.Subscript)):
        return
    yield "statement left out", node, "pass"


def is_logging(node: ast.AST) -> bool:
    """Tells whether a call only writes to a log."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith(
        ("logging.", "logger.", "LOGGER.", "_LOG")
    )


def change_jump(node: ast.Continue | ast.Break) -> Iterator[Change]:
    """Exchanges `continue` and `break`."""
    yield "jump", node, "break" if isinstance(node, ast.Continue) else "continue"


def wrap(node: ast.AST) -> str:
    """Returns an expression's text in brackets."""
    return f"({ast.unparse(node)})"


CHANGES: dict[type[ast.AST], tuple[Callable[..., Iterator[Change]], ...]] = {
    ast.Compare: (change_comparison,),
    ast.BoolOp: (change_logic,),
    ast.UnaryOp: (change_sign,),
    ast.BinOp: (change_arithmetic,),
    ast.Constant: (change_constant,),
    ast.If: (change_branch,),
    ast.IfExp: (change_branch,),
    ast.While: (change_branch,),
    ast.comprehension: (change_filter,),
    ast.Call: (change_call,),
    ast.List: (change_members,),
    ast.Tuple: (change_members,),
    ast.Set: (change_members,),
    ast.Dict: (change_table,),
    ast.Subscript: (change_index,),
    ast.Expr: (change_step,),
    ast.Assign: (change_step,),
    ast.AugAssign: (change_step,),
    ast.Delete: (change_step,),
    ast.Raise: (change_step,),
    ast.Continue: (change_jump,),
    ast.Break: (change_jump,),
}
