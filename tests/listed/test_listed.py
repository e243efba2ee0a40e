"""What `vcpu-env list` prints is what there is, and is printed without a compiler."""

import subprocess
import sys

import pytest

from vcpu_env.listed import KINDS, file_of, rows
from vcpu_env.listed.make import MADE, text_of

NEEDS = "import sys, vcpu_env.cli as cli\ncli.list_(sys.argv[1], False)\nassert 'numba' not in sys.modules, 'numba'"


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_are_those_that_make_writes(kind):
    assert file_of(kind).read_text("utf-8") == text_of(kind), "run python -m vcpu_env.listed.make"
    assert rows(kind) == MADE[kind]()


@pytest.mark.parametrize("kind", [*KINDS, "fields"])
def test_a_list_needs_no_compiler(kind):
    subprocess.run([sys.executable, "-c", NEEDS, kind], check=True, stdout=subprocess.DEVNULL, timeout=60)
