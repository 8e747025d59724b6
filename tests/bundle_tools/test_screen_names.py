"""The allow-list against the packages themselves: what its names are, and which arguments could name something."""

from __future__ import annotations

import importlib
import inspect
import re
import types

import pytest
from monai.bundle import ComponentLocator

from mdcsrn.bundle.allowlist import BARE, CALLABLES, VALUES, find, signature
from mdcsrn.bundle.arguments import READERS, WRITERS, rule_of

# Arguments of allowed callables that have no rule although they sound like a name, a place or code. Each was looked at
# in MONAI 1.6.1, torch 2.13 and Ignite 0.5.5: they take callables, which are allowed ones, or text that is looked up in
# a table of the package's own, printed, or opened for reading without pickles. What a new version adds fails here.
_TEXT = """
act_name backend base_dir collate_fn data_list_file_path datalist directed dropout_path_rate
epoch_event_writer folder_layout hash_as_key hash_func iteration_event_writer key_metric_name key_var_format load_path
loss_fn loss_function makedirs meta_key_postfix metric_cmp_fn metric_fn metric_name model_name module
multiprocessing_context name norm_name output_name_formatter output_postfixes parent path post_func profiles
savepath_in_metadict score_function select_fn separate_folder source source_key summary_writer tag_name worker_init_fn
"""
LOOKED_AT = set(_TEXT.split())
SOUNDS_LIKE = re.compile(
    r"reader|writer|merger|pretrain|weights_|weight_path|download|url|pickle|hub|_cls|backend|module|func|_fn$|fn_|name$|"
    r"path|dir|file|folder|ext$|format|postfix|prefix|cache_dir|kwargs|layout|parent|source|hash|input$|datalist|context",
)


def test_every_name_is_there_and_of_its_package() -> None:
    for full in sorted(CALLABLES):
        found = find(full)
        assert callable(found), full
        assert not isinstance(found, types.ModuleType), full
        home = getattr(found, "__module__", None) or type(found).__module__
        root = full.split(".")[0]
        assert home.split(".")[0] in (root, {"os": "posixpath"}.get(root, root), {"os": "genericpath"}.get(root)), full


def test_every_value_is_a_constant_or_takes_batches() -> None:
    batches = {"decollate_batch", "list_data_collate", "pad_list_data_collate", "no_collation", "panel_array"}
    for full in sorted(VALUES):
        module, _, name = full.rpartition(".")
        if module == "monai.utils.CommonKeys":
            continue
        found = getattr(importlib.import_module(module), name)
        assert not isinstance(found, types.ModuleType), full
        assert inspect.isfunction(found) == (name in batches), full


def test_a_bare_name_is_the_one_that_monai_finds() -> None:
    locator = ComponentLocator()
    for name, full in BARE.items():
        found = locator.get_component_module_name(name)
        assert isinstance(found, str), (name, found)  # a list: MONAI would take the first of several
        assert getattr(importlib.import_module(found), name) is find(full), name


def test_every_argument_that_could_name_something_has_a_rule_or_was_looked_at() -> None:
    names = {name for full in CALLABLES for name in (signature(full) or ((), {}))[1]}
    assert {name for name in names if SOUNDS_LIKE.search(name) and rule_of(name) is None} == LOOKED_AT


@pytest.mark.parametrize("name", sorted(READERS | WRITERS))
def test_readers_and_writers_are_classes_that_monai_finds(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert inspect.isclass(getattr(importlib.import_module(module or "monai.data"), attribute))
