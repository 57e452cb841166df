"""The check of the code's shape counts as its page says."""

import ast

import shape

CODE = '''
def outer(self, a, *rest, b=1, **more):
    """Return something.

    In three lines.
    """

    def inner(x):
        y = x
        return y

    return inner(a)
'''


def test_a_length_leaves_out_docstring_and_inner_functions():
    outer, inner = (node for node in ast.walk(ast.parse(CODE)) if isinstance(node, ast.FunctionDef))
    assert (shape.length(outer), shape.length(inner)) == (4, 3)


def test_parameters_count_without_self():
    outer = next(node for node in ast.walk(ast.parse(CODE)) if isinstance(node, ast.FunctionDef))
    assert shape.parameters(outer) == 4


def test_the_package_keeps_its_shape(capsys):
    assert shape.main() == 0, capsys.readouterr().out
