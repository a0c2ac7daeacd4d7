"""Compares every use of pyxrt in a source file with the names and signatures of pyxrt.pyi.

Types are followed through assignments, loops, parameters annotated `pyxrt.CLASS`, functions that
return such, and attributes of self. The module itself goes by the name `pyxrt` in our code. A
method that only pyxrt has, called on something whose type is not known, is a problem as well:
otherwise forgetting an annotation would hide it.
"""

from __future__ import annotations

import ast
import builtins
import io
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

MODULE = "<module>"
# methods of these are not taken for pyxrt's when the type of their object is not known
COMMON = {
    name
    for kind in (*vars(builtins).values(), io.BytesIO, io.StringIO, Path, subprocess.Popen)
    for name in dir(kind)
}


@dataclass
class Signature:
    """How one overload may be called: `least` to `most` arguments (None: any number)."""

    least: int
    most: int | None
    names: set[str]
    returns: str

    def takes(self, call: ast.Call) -> bool:
        starred = any(isinstance(a, ast.Starred) for a in call.args)
        count = sum(not isinstance(a, ast.Starred) for a in call.args)
        keywords = {keyword.arg for keyword in call.keywords}
        if not keywords <= self.names | {None}:
            return False
        enough = starred or None in keywords or count + len(keywords) >= self.least
        return enough and (self.most is None or count + len(keywords) <= self.most)


@dataclass
class Class:
    """A class of the stub: attributes with their types, methods with all overloads."""

    is_enum: bool = False
    attributes: dict[str, str] = field(default_factory=dict)
    methods: dict[str, list[Signature]] = field(default_factory=dict)


def read_stub(text: str) -> dict[str, Class]:
    """Classes by dotted name; MODULE holds what stands outside of classes."""
    classes: dict[str, Class] = {}
    _read_body(ast.parse(text).body, "", classes)
    return classes


def _read_body(body: list[ast.stmt], owner: str, classes: dict[str, Class]) -> None:
    here = classes.setdefault(owner or MODULE, Class())
    for node in body:
        if isinstance(node, ast.ClassDef):
            name = f"{owner}.{node.name}" if owner else node.name
            _read_body(node.body, name, classes)
            classes[name].is_enum = any("Enum" in ast.unparse(base) for base in node.bases)
            here.attributes[node.name] = f"class {name}"
        elif isinstance(node, ast.FunctionDef):
            here.methods.setdefault(node.name, []).append(_signature(node, bool(owner)))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            here.attributes[node.target.id] = _resolve(ast.unparse(node.annotation), owner, classes)


def _signature(node: ast.FunctionDef, is_method: bool) -> Signature:
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)][int(is_method) :]
    most = None if node.args.vararg else len(names)
    returns = ast.unparse(node.returns) if node.returns else ""
    return Signature(len(names) - len(node.args.defaults), most, set(names), returns)


def _resolve(name: str, owner: str, classes: dict[str, Class]) -> str:
    if _element(name):
        return f"List[{_resolve(_element(name), owner, classes)}]"
    nested = f"{owner}.{name}"
    return nested if nested in classes else name


class Uses(ast.NodeVisitor):
    """Walks a source file; `problems` are sentences, `checked` the names that were compared."""

    def __init__(self, source: str, stub: dict[str, Class]):
        self.stub = stub
        self.problems: list[str] = []
        self.checked: set[str] = set()
        self.scopes: list[dict[str, str]] = [{"pyxrt": "module"}]
        self.own: dict[str, str] = {}
        self.distinct = {m for c in stub.values() for m in c.methods} - COMMON
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.returns:
                self.own[node.name] = self.annotated(node.returns)
        for node in ast.walk(tree):  # attributes of self may be used above where they are set
            if isinstance(node, ast.ClassDef):
                self.visit(node)
        self.problems.clear()
        self.visit(tree)

    def annotated(self, node: ast.expr | None) -> str:
        text = ast.unparse(node).replace("'", "") if node else ""
        name = text.removeprefix("pyxrt.").removesuffix(" | None")
        if not text.startswith("pyxrt."):
            return ""
        if node and name not in self.stub:
            self.problem(node, f"there is no class {name}")
        return name

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        scope = {a.arg: self.annotated(a.annotation) for a in arguments}
        if "pyxrt" in scope:
            scope["pyxrt"] = "module"
        self.scopes.append(scope)
        for statement in node.body:
            self.visit(statement)
        self.scopes.pop()

    def visit_Assign(self, node: ast.Assign) -> None:
        kind = self.infer(node.value)
        for target in node.targets:
            self.bind(target, kind)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        kind = self.infer(node.value) if node.value else ""
        self.bind(node.target, self.annotated(node.annotation) or kind)

    def visit_For(self, node: ast.For) -> None:
        self.bind(node.target, _element(self.infer(node.iter)))
        for statement in (*node.body, *node.orelse):
            self.visit(statement)

    def bind(self, target: ast.expr, kind: str) -> None:
        if isinstance(target, ast.Name):
            self.scopes[-1][target.id] = kind
        elif isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
            self.scopes[0][f"self.{target.attr}"] = kind

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.expr):
            self.infer(node)
        else:
            super().generic_visit(node)

    def infer(self, node: ast.expr) -> str:
        """The type of an expression: "module", "class C", "C.method()", "C", or empty."""
        if isinstance(node, ast.Name):
            return next((s[node.id] for s in reversed(self.scopes) if node.id in s), "")
        if isinstance(node, ast.Attribute):
            known = self.scopes[0].get(ast.unparse(node))
            return known if known is not None else self.attribute(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.Subscript):
            self.infer(node.slice)
            return _element(self.infer(node.value))
        super().generic_visit(node)
        return ""

    def attribute(self, node: ast.Attribute) -> str:
        kind = self.infer(node.value)
        name = {"module": MODULE}.get(kind, kind.removeprefix("class "))
        if name not in self.stub:
            return f"?.{node.attr}()"
        owner = self.stub[name]
        self.checked.add(f"{name}.{node.attr}")
        if node.attr in owner.attributes:
            found = owner.attributes[node.attr]
            return name if owner.is_enum and found == name.rpartition(".")[2] else found
        if node.attr in owner.methods:
            return f"{name}.{node.attr}()"
        if not (owner.is_enum and node.attr in ("name", "value")):
            self.problem(node, f"{name} has no {node.attr}")
        return ""

    def call(self, node: ast.Call) -> str:
        kind = self.infer(node.func)
        for argument in (*node.args, *(k.value for k in node.keywords)):
            self.infer(argument.value if isinstance(argument, ast.Starred) else argument)
        if isinstance(node.func, ast.Name) and node.func.id in self.own:
            return self.own[node.func.id]
        if kind.startswith("?."):
            if kind[2:-2] in self.distinct:
                self.problem(node, f"the type of what {kind[2:]} is called on is not known")
            return ""
        if kind.startswith("class "):
            return self.compare(node, kind[6:], "__init__", kind[6:])
        if kind.endswith("()"):
            owner, _, method = kind[:-2].rpartition(".")
            return self.compare(node, owner, method)
        if kind in self.stub:
            return self.compare(node, kind, "__call__")
        return ""

    def compare(self, node: ast.Call, owner: str, method: str, result: str = "") -> str:
        self.checked.add(f"{owner}.{method}")
        overloads = self.stub[owner].methods.get(method, [])
        fitting = [signature for signature in overloads if signature.takes(node)]
        if not fitting:
            self.problem(node, f"no overload of {owner}.{method} takes this call")
            return result
        return result or _resolve(fitting[0].returns, owner, self.stub)

    def problem(self, node: ast.expr, text: str) -> None:
        self.problems.append(f"line {node.lineno}: {text}: {ast.unparse(node)}")


def _element(kind: str) -> str:
    return kind[5:-1] if kind.startswith("List[") else ""
