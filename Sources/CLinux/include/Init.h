// The processes of a PID namespace that stay after a fork: Init.c. Separate from CLinux.h, as the Slurm plugin includes it.
#ifndef BERTH_INIT_H
#define BERTH_INIT_H

#include <sys/types.h>

/* Forks: the child becomes process 1 of the new PID namespace and gets 0. This process forwards signals to it and exits with
   its status. Returns -1 with errno.

   BROADCASTER signals every process of the container itself, so its signals are not forwarded; 0 for none. */
int berth_become_first_process(pid_t broadcaster);
/* Makes the child get SIGKILL when its parent exits. Must be repeated after a change of user, which resets the setting. */
int berth_end_with_parent(void);
/* Forks: the child gets 0 and continues. This process reaps, forwards signals, and exits with it. Returns -1 with errno. */
int berth_leave_init_behind(void);

#endif
