"""The tables of Auto classes are those that transformers has when it is imported."""

import sys

import pytest
from transformers.models.auto import modeling_auto

from adamms.models import auto_tables
from adamms.models.auto_tables import auto_tables as read
from adamms.models.registration import AUTO_CLASSES


def test_tables_are_those_of_transformers_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    names = AUTO_CLASSES.values()
    known = read(*names)
    assert known == [dict(getattr(modeling_auto, name)) for name in names]
    monkeypatch.delitem(sys.modules, modeling_auto.__name__)
    monkeypatch.delattr(auto_tables, "_imported")
    assert read(*names) == known


def test_a_table_that_is_no_list_of_pairs_is_imported() -> None:
    assert read("MODEL_MAPPING") == [modeling_auto.MODEL_MAPPING]
