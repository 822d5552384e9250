"""The examples and the pages about applications do what they say."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs" / "sdk.md").read_text()
# A block is a file that begins with its name.
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))


def python(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_shop_submits_and_runs_its_tasks(tmp_path):
    shutil.copy(EXAMPLES / "shop.py", tmp_path)
    assert python(tmp_path, "shop.py").splitlines() == [
        "2 x lamp",
        "{'order': 'order-7', 'goods': '1 x lamp', 'payment': 'receipt for order-7 over 49.99'}",
        "OutOfStock: lamp",
        "sales of yesterday",
    ]
    assert (tmp_path / "shop.db").exists()


def test_orders_and_their_tasks_are_one_commit(tmp_path):
    shutil.copy(EXAMPLES / "orders.py", tmp_path)
    assert python(tmp_path, "orders.py").splitlines() == [
        "order 7 is paid",
        "there is nothing to order",
        "[(7, 'lamp')]",
        "[(7,)]",
    ]


def test_the_shops_own_tests_pass(tmp_path):
    for name in ("shop.py", "test_shop.py"):
        shutil.copy(EXAMPLES / name, tmp_path)
    assert "3 passed" in python(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py")
    assert not (tmp_path / "shop.db").exists()


def test_the_pages_programs_run(tmp_path):
    assert FILES.keys() == {"thumbnails.py", "service.py", "test_thumbnails.py"}
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    assert python(tmp_path, "thumbnails.py") == "a-300.png\nb-300.png\nTypeError\n"
    assert python(tmp_path, "service.py") == "a-800.png\n"
    assert "3 passed" in python(
        tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_thumbnails.py"
    )


@pytest.mark.parametrize("name", ["TaskOptions", "Rules"])
def test_the_page_names_every_option(name):
    from mainspring.sdk import options, schedules

    known = getattr(options, name, None) or getattr(schedules, name)
    missing = [option for option in known.__annotations__ if f"`{option}`" not in PAGE]
    assert missing == []
