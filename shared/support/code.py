"""The code of a module without its words, so that another wording of a docstring or an error changes no key."""

import ast


def code_of(source: str) -> ast.Module:
    """The syntax tree of a module without docstrings, comments, what errors are made with, and its main block."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not _is_main_block(node)]
    return _WithoutWords().visit(tree)


class _WithoutWords(ast.NodeTransformer):
    """Drops docstrings, sentences below fields, and what errors are made with."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)] or [ast.Pass()]
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=error, cause=None)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        named = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if named.endswith(("Error", "Exception", "Warning")):
            return ast.Call(func=node.func, args=[], keywords=[])
        return self.generic_visit(node)


def _is_text(node: ast.stmt) -> bool:
    """A docstring, or the sentence below a field."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
