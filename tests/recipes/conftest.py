"""What the tests of the recipe share: a corpus, and a run that came to its end."""

import pytest
from tiny_corpus import write_tiny_corpus
from tiny_recipe import Recipe


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_tiny_corpus(tmp_path_factory.mktemp("corpus"), times=2)  # work for two jobs


@pytest.fixture(scope="session")
def finished(tmp_path_factory, corpus):
    recipe = Recipe(tmp_path_factory.mktemp("recipe"), corpus)
    answer = recipe.run()
    assert answer.returncode == 0, answer.stdout + answer.stderr
    recipe.said = answer.stdout + answer.stderr
    return recipe
