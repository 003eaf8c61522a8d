"""What is typed beside recipe=FILE, so that Hydra composes it. Knows no recipe, and imports nothing heavy."""

from collections.abc import Sequence


def words_for(words: Sequence[str]) -> list[str]:
    """What is typed, with models that a recipe has: they need not be in the configuration.

    >>> words_for(["recipe=a.yml", "model.donors.b.path=B"])
    ['model=custom', 'recipe=a.yml', '++model.donors.b.path=B']
    """
    found = []
    recipe = next((word for word in words if word.startswith("recipe=") and word != "recipe=null"), None)
    for word in words:
        found += ["model=custom"] if word == recipe else []
        found.append(f"++{word}" if recipe and word.startswith("model.") else word)
    return found
