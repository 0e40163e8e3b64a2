import Testing

@testable import Allocation

@Suite struct HostlistTests {
    @Test(arguments: [
        ("gpu1", ["gpu1"]), ("a,b,c", ["a", "b", "c"]), ("gpu[1-3]", ["gpu1", "gpu2", "gpu3"]),
        ("gpu[001-003,7]", ["gpu001", "gpu002", "gpu003", "gpu7"]), ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("gpu[1,5],login[2-3],x", ["gpu1", "gpu5", "login2", "login3", "x"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]), ("a[1]-ib", ["a1-ib"]),
        ("host-1.example.com", ["host-1.example.com"]),
        ("p4d-st-p4d24xlarge-[1-2]", ["p4d-st-p4d24xlarge-1", "p4d-st-p4d24xlarge-2"]), ("n[9-10]", ["n9", "n10"]),
    ]) func listsAreExpanded(_ list: String, _ names: [String]) {
        #expect(Hostlist.expand(list) == names)
    }

    @Test(arguments: [
        "", ",", "a,,b", "a[1-", "a]1[", "a[[1]]", "a[]", "a[x]", "a[3-1]", "a[1-2-3]", "a[+1-2]", "a[1-9999999]",
        "a[1-999]b[1-999]c[1-999]",
    ])
    func nonsenseIsRefused(_ list: String) {
        #expect(Hostlist.expand(list) == nil)
    }

    @Test func PyTorchsVariables() {
        var environment = [
            "SLURM_JOB_ID": "4540", "SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_LOCALID": "1",
            "SLURM_NODEID": "2",
            "SLURM_STEP_NODELIST": "gpu[03-05]", "SLURM_JOB_NODELIST": "gpu[01-08]", "SLURM_STEP_NUM_TASKS": "6",
            "SLURM_NTASKS": "16",
            "SLURM_STEP_TASKS_PER_NODE": "2(x3)",
        ]
        #expect(
            PyTorchVariables.entries { environment[$0] } == [
                "MASTER_ADDR=gpu03", "MASTER_PORT=61004", "WORLD_SIZE=6", "RANK=5", "LOCAL_RANK=1",
                "LOCAL_WORLD_SIZE=2", "NODE_RANK=2",
                "GROUP_RANK=2",
            ])
        // Concurrent steps of a job have different ports, and all ports are valid.
        environment["SLURM_STEP_ID"] = "1"
        #expect(PyTorchVariables.entries { environment[$0] }[1] == "MASTER_PORT=61101")
        for job in ["1", "4535", "4536", "99999999", "18446744073709551615"] {
            environment["SLURM_JOB_ID"] = job
            let port = PyTorchVariables.entries { environment[$0] }[1].split(separator: "=").last.flatMap { Int($0) }
            #expect((61000...65535).contains(port ?? 0))
        }
        environment["SLURM_PROCID"] = nil
        #expect(PyTorchVariables.entries { environment[$0] }.isEmpty)
    }
}
