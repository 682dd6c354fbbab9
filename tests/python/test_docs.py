"""The pages say what the tables and the program say."""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def docs(*args, cwd=None):
    return subprocess.run([sys.executable, str(ROOT / "tools/docs.py"), *args], capture_output=True, text=True, cwd=cwd)


def test_generated_parts_of_the_pages_are_current_and_no_link_is_dead():
    program = os.environ.get("FGPU_BIN", str(ROOT / "build/src/cli/fgpu"))
    got = docs("--check", "--fgpu", program)
    assert got.returncode == 0, got.stderr


def test_a_stale_table_and_a_dead_link_are_found(tmp_path):
    for folder in ("tools", "api", "docs"):
        (tmp_path / folder).mkdir()
    for name in ("tools/docs.py", "tools/gen_openapi.py", *(f"api/{p.name}" for p in (ROOT / "api").glob("*.toml"))):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    page = tmp_path / "docs/page.md"
    page.write_text("by hand\n<!-- table: errors -->\nold\n<!-- end -->\nby hand, too [there](nowhere.md)\n")
    tool = [sys.executable, str(tmp_path / "tools/docs.py")]
    got = subprocess.run([*tool, "--check"], capture_output=True, text=True)
    assert got.returncode == 1 and "page.md is stale" in got.stderr and "'nowhere.md' leads nowhere" in got.stderr
    assert "old" in page.read_text()
    subprocess.run(tool, capture_output=True)
    text = page.read_text()
    assert "old" not in text and "`storage_full` | 507" in text
    assert text.startswith("by hand\n") and "by hand, too" in text
