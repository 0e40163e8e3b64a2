"""Programs for the shell that more than one file of tests runs."""

LIST_GPUS = """for i in 0 1 2 3 4 5 6 7; do
  if [ -e /dev/nvidia$i ]; then echo "$i $({ : <>/dev/nvidia$i; } 2>&1 | sed 's/.*: //')"; fi; done"""
