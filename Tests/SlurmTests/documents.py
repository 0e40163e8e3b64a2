"""What the documents say of the tests here is true."""

import re

import cluster
import harness
from harness import same, test

CLAIMED = {"pyxis": (73, 163, 181, 174, 161, 151, 152, 104, 31, 123), "enroot": (154, 254, 278, 91, 141, 10)}


@test
def documents_name_tests_that_exist():
    names = [one.__name__ for one in harness.tests]
    text = (cluster.TOP / "docs/pyxis-compatibility.md").read_text()
    wanted = re.findall(r"`([a-z][a-z0-9_]*)(_…)?`", "\n".join(line.split("|")[-2] for line in text.splitlines() if line.startswith("|")))
    assert len(wanted) > 40, wanted
    missing = [name for name, more in wanted if not any(one.startswith(name) if more else one == name for one in names)]
    same(missing, [])


@test
def documents_have_a_test_for_each_issue_that_is_claimed():
    names = [one.__name__ for one in harness.tests]
    swift = "".join(path.read_text() for path in (cluster.TOP / "Tests/RegistryTests").rglob("*.swift"))
    for project, numbers in CLAIMED.items():
        for number in numbers:
            found = [name for name in names if re.search(rf"{project}(_\d+)*_{number}_", name)]
            assert found or f"_{project}{number}(" in swift, f"no test of {project} {number}"
