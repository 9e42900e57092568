from pathlib import Path

import jsonschema
import pytest
import yaml

from parafovea.config.documentation import schema_text, table_text, with_table
from parafovea.errors import ConfigError

CONFIG = Path(__file__).parents[2] / "config"


def test_the_schema_for_editors_is_the_models():
    assert (CONFIG / "config.schema.json").read_text() == schema_text(), "run parafovea config-docs"


def test_the_parameter_table_is_the_models():
    page = (CONFIG / "README.md").read_text()
    assert with_table(page, table_text()) == page, "run parafovea config-docs"


def test_every_key_of_the_default_config_stands_in_the_table():
    table = table_text()

    def walk(values, path=()):
        for key, value in values.items():
            named = {"tasks", "classes", "limits"}
            here = (*path, "NAME" if path and path[-1] in named else key)
            if isinstance(value, dict):
                walk(value, here)
            else:
                assert f"| `{'.'.join(here)}` |" in table

    walk(yaml.safe_load((CONFIG / "config.yaml").read_text()))


@pytest.mark.parametrize("name", ["config.yaml", "train_cell.yaml", "encoder_chain.yaml"])
def test_the_configs_that_come_along_fit_the_schema(name):
    schema = yaml.safe_load(schema_text())
    jsonschema.validate(yaml.safe_load((CONFIG / name).read_text()), schema)


def test_a_page_without_its_markers_is_refused():
    with pytest.raises(ConfigError, match="lacks the line"):
        with_table("# Config\n", table_text())
