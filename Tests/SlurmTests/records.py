"""Records of runs, and the same run again."""

import json
import re

import cluster
from cluster import image, node, run, srun
from harness import fails, same, succeeds, test

HERE = "/srv/records"
SCRIPT = "import sys, os\nprint('loss', sum(float(x) for x in sys.argv[1:]) * float(os.environ['LR']), os.environ['SLURM_PROCID'])\n"


def history(*words):
    return run("berth", "history", *words)


@test
def history_and_replay_repeat_a_step():
    image("train")
    with cluster.SiteFile("record = yes\n"):
        repeat_a_step()


def repeat_a_step():
    node("ctl", "bash", "-c", f"rm -rf {HERE}; mkdir -m 777 {HERE}")
    (cluster.LAB / "shared/records/train.py").write_text(SCRIPT)
    options = ("-N2", "-n2", "--gres=gpu:2", "--chdir=" + HERE)
    for words in (
        ("berth", "run", "-v", f"{HERE}:{HERE}", "-w", HERE, image("train"), "--", "python3", "train.py", "0.25", "0.5"),
        (f"--container-image={image('train')}", f"--container-mounts={HERE}", f"--container-workdir={HERE}",
         "python3", "train.py", "0.25", "0.5"),
    ):  # fmt: skip
        first = succeeds(srun(*options, *words, environment={"LR": "0.1", "WANDB_API_KEY": "k"}))
        record = json.loads(succeeds(history("show", "--json", "last")).out)
        same(record["written"], ["python3", "train.py", "0.25", "0.5"], record)
        same(record["image"]["digest"][:7], "sha256:", record)
        same([file["path"] for file in record["files"]], ["train.py"], record)
        same((record["job"]["nodes"], record["job"]["tasks"], len(record["devices"]["nodes"]) >= 2), ("2", "2", True), record)
        same({one["value"] for one in record["environment"] if one["name"] == "WANDB_API_KEY"}, {"(masked)"}, record)
        again = succeeds(run("berth", "replay", "last", "--", "--chdir=" + HERE, environment={"WANDB_API_KEY": "another"}))
        same(sorted(again.out.splitlines()), sorted(first.out.splitlines()), again)
        same(len(first.out.splitlines()), 2, first)
        same(succeeds(history("diff", record["id"], "last")).out, "")
        same(json.loads(succeeds(history("show", "--json", "last")).out)["replayOf"], record["id"])
    text = succeeds(history("show", "last")).out
    assert re.search(r"^image +.*train", text, re.M) and re.search(r"^job +\d+\.0", text, re.M), text
    # What has changed is said, and refused with --strict.
    (cluster.LAB / "shared/records/train.py").write_text(SCRIPT + "\n")
    fails(run("berth", "replay", "--strict", "last"), "the file train.py has changed", "leave out --strict")
    node("ctl", "rm", "-rf", HERE)
    ended = run("berth", "replay", "--dry-run", "last")
    assert f"the mount {HERE} is not on this machine" in ended.err, ended
