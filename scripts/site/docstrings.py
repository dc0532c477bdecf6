"""Docstrings as Markdown: prose is wrapped, indented formulas keep their lines, and only ` is a special character."""

import ast
import builtins
import html
import inspect
import re
from importlib import import_module
from typing import Any

import griffe

from handgrad import Tensor

FORMULA = re.compile(r"((?:^ {4}.*\n(?:[ ]*\n(?= {4}))*)+)", re.MULTILINE)
CODE_OR_ADDRESS = re.compile(r"(``.*?``|`.*?`|https?://[^\s)]*[^\s).,;:])", re.DOTALL)


class Docstrings(griffe.Extension):
    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        # Griffe looks up a name in the packages around a module before Python's own names.
        for package in (pkg, pkg["autograd"]):
            for name in set(dir(builtins)) & set(package.members):
                package.del_member(name)
        for module in pkg["ops"].modules.values():
            _add_pairs(module)
        tensor = pkg["autograd.tensor.Tensor"]
        for parts in ("conversions.Conversions", "copying.Copies", "methods.Methods"):
            _take_members(tensor, pkg[f"autograd.{parts}"])
        _describe_methods(tensor)

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        # Attributes that __init__ sets without a docstring are left to the source.
        for name, member in list(cls.members.items()):
            if member.is_attribute and member.labels == {"instance-attribute"} and not member.docstring:
                cls.del_member(name)

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.is_function:
            obj.extra["handgrad"]["code"] = "" if "attached" in obj.labels else _without_docstring(obj)
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def _add_pairs(module: griffe.Module) -> None:
    """``f, f_backward = ...``: Griffe sees no names in this line. Their docstrings are those of the functions."""
    running = import_module(module.path)
    for node in ast.parse(module.source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            for name in map(ast.unparse, node.targets[0].elts):
                docstring = griffe.Docstring(as_markdown(getattr(running, name).__doc__))
                value = None if name.endswith("_backward") else ast.unparse(node.value)  # the line is shown once
                module.set_member(name, griffe.Attribute(name, value=value, docstring=docstring, lineno=node.lineno))


def _take_members(tensor: griffe.Class, parts: griffe.Class) -> None:
    """``Tensor`` inherits from classes that readers need not know: its page shows their members as its own."""
    for name, member in list(parts.members.items()):
        if not name.startswith("_") and name not in tensor.members:
            parts.del_member(name)
            tensor.set_member(name, member)


def _describe_methods(tensor: griffe.Class) -> None:
    """``Tensor`` only declares the methods that other files attach to it; their docstrings are at the functions."""
    for name, member in tensor.members.items():
        if not member.docstring and not member.is_alias and (docstring := getattr(Tensor, name, None).__doc__):
            attached = getattr(getattr(Tensor, name), "__module__", tensor.module.path) != tensor.module.path
            if attached or name == "T":
                member.docstring = griffe.Docstring(inspect.cleandoc(docstring), parent=member)
                member.labels.add("attached")


def as_markdown(docstring: str) -> str:
    parts = FORMULA.split(docstring + "\n")
    parts[::2] = map(_prose, parts[::2])
    parts[1::2] = (re.sub("^ {4}", "", f"\n    ```text\n{part}    ```\n\n", flags=re.MULTILINE) for part in parts[1::2])
    return "".join(parts)


def _prose(text: str) -> str:
    parts = CODE_OR_ADDRESS.split(text)
    parts[::2] = (re.sub(r"([\\*_\[\]#$])", r"\\\1", html.escape(part, quote=False)) for part in parts[::2])
    parts[1::2] = (part if part.startswith("`") else f"<{part}>" for part in parts[1::2])
    return "".join(parts)


def _without_docstring(function: griffe.Object) -> str:
    lines = [re.sub(r"  # (type: ignore|noqa).*", "", line) for line in function.source.splitlines()]
    docstring = function.docstring
    if docstring and docstring.lineno and docstring.endlineno and function.lineno:
        del lines[docstring.lineno - function.lineno : docstring.endlineno - function.lineno + 1]
    return "\n".join(lines)
