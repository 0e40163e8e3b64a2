import Allocation
import Testing

@Suite struct TaskVariableTests {
    @Test(
        arguments: PyTorchVariables.names + [
            "SLURM_PROCID", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "CUDA_VISIBLE_DEVICES",
            "HIP_VISIBLE_DEVICES",
            "ROCR_VISIBLE_DEVICES", "ZE_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "TMPDIR", "TERM", "MPI_LOCALRANKID",
            "BERTH_IMAGE",
        ])
    func ofOneTask(_ name: String) {
        #expect(TaskVariables.contain(name) && TaskVariables.contain(name + "=1"))
    }

    @Test(arguments: ["PATH", "RANKS", "LR", "OMP_NUM_THREADS", "X=CUDA_VISIBLE_DEVICES", "TMPDIR2", "MASTER", "", "="])
    func ofTheJob(_ entry: String) { #expect(!TaskVariables.contain(entry)) }

    /// What `--profile pytorch` sets is each task's own.
    @Test func allOfTheProfile() {
        let job = [
            "SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
            "SLURM_STEP_NODELIST": "n1", "SLURM_NTASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2",
        ]
        let entries = PyTorchVariables.entries { job[$0] }
        #expect(entries.count > 5 && entries.allSatisfy(TaskVariables.contain))
    }
}
