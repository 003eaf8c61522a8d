"""Tests of the compiled passes, which an installation builds where it has a C compiler."""

import pytest

from adamms.merge import kernel

needs_kernel = pytest.mark.skipif(
    kernel.LIBRARY is None, reason="no library that was built from this kernel.c: pip install -e ."
)
