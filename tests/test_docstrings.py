"""The examples in the docstrings run, on a tiny model."""

import doctest
import importlib
import pkgutil

import pytest
import torch
from conftest import tiny_model

import steering_utils

MODULES = [m.name for m in pkgutil.walk_packages(steering_utils.__path__, "steering_utils.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tokenizer):
    names = vars(steering_utils) | {"torch": torch, "model": tiny_model("gpt2"), "tokenizer": tokenizer}
    result = doctest.testmod(importlib.import_module(name), extraglobs=names)
    assert result.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_has_a_docstring(name):
    module = importlib.import_module(name)
    mine = [x for key, x in vars(module).items() if callable(x) and x.__module__ == name and key[0] != "_"]
    assert all(x.__doc__ for x in mine)
