"""What more than one file of tests runs in a step about GPUs, and how it is read."""

import collections

from harness import same

LIST_GPUS = """for i in 0 1 2 3 4 5 6 7; do
  if [ -e /dev/nvidia$i ]; then echo "$i $({ : <>/dev/nvidia$i; } 2>&1 | sed 's/.*: //')"; fi; done"""


def each_task_opens_one_gpu_of_its_own(ended):
    """Of two tasks that ran LIST_GPUS, labelled by `srun -l`.  A node that may be opened has no driver behind it."""
    openable = collections.defaultdict(list)
    for line in ended.lines:
        task, _, rest = line.partition(": ")
        if rest.endswith("No such device or address"):
            openable[task].append(rest.split()[0])
    same([len(openable[task]) for task in "01"], [1, 1], ended)
    assert openable["0"] != openable["1"], ended
