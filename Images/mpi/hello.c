// Each rank prints its location; the sum shows that all ranks communicate.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv) {
    int rank, size, sum, length;
    char host[MPI_MAX_PROCESSOR_NAME];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Get_processor_name(host, &length);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    printf("rank %d of %d on %s, sum of ranks %d\n", rank, size, host, sum);
    fflush(stdout);
    MPI_Barrier(MPI_COMM_WORLD);
    int status = sum == size * (size - 1) / 2 ? 0 : 1;
#ifdef MPICH_VERSION
    // Debian's MPICH 4.0.2 (ch4:ucx over TCP) hangs in MPI_Finalize in a quarter of the runs, also on a bare host: one
    // rank waits for a peer that has already left for PMI. So exit without it, after all ranks had time to leave the
    // barrier.
    for (time_t end = time(NULL) + 2; time(NULL) < end; nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL)) {
        int waiting;
        MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &waiting, MPI_STATUS_IGNORE);
    }
    _Exit(status);
#else
    MPI_Finalize();
    return status;
#endif
}
