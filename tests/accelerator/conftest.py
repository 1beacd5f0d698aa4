import pytest
from toy_accelerator import GOOD

from coevo.accelerator import load_template


@pytest.fixture
def load(tmp_path):
    def write_and_load(text=GOOD, **arguments):
        path = tmp_path / "toy.yaml"
        path.write_text(text, encoding="utf-8")
        return load_template(str(path), **arguments)

    return write_and_load
