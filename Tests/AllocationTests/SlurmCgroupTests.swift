import Allocation
import Testing

@Suite struct SlurmCgroupTests {
    @Test(arguments: [
        "/slurm/uid_2001/job_1/step_0/task_0", "/slurm_node1/uid_2001/job_17/step_batch/task_0",
        "/system.slice/slurmstepd.scope/job_1/step_0/user/task_12",
        "/system.slice/node1_slurmstepd.scope/job_1/step_interactive/user/task_0",
    ]) func aTasksOwnIsKnown(_ path: String) { #expect(SlurmCgroup.isTask(path) && SlurmCgroup.isOfJob(path)) }

    @Test(arguments: [
        "/", "", "/user.slice", "/slurm/uid_2001/job_1/step_0", "/slurm/job_1/step_0/task_0/mine",
        "/system.slice/slurmstepd.scope/job_1/step_0/user/task_special", "/job_x/step_0/task_0", "/step_0/task_0",
        "/job_1/task_0", "/task_0/step_0/job_1",
    ]) func othersAreNot(_ path: String) { #expect(!SlurmCgroup.isTask(path)) }
}
