"""The examples in docstrings are true."""

import doctest

import adamms.architectures.roles
import adamms.architectures.spec
import adamms.checkpoint.reader
import adamms.mapping.checks.distance
import adamms.mapping.expression
import adamms.mapping.plan


def test_examples_in_docstrings() -> None:
    for module in (
        adamms.architectures.roles,
        adamms.architectures.spec,
        adamms.checkpoint.reader,
        adamms.mapping.checks.distance,
        adamms.mapping.expression,
        adamms.mapping.plan,
    ):
        failed, tried = doctest.testmod(module)
        assert tried
        assert not failed
