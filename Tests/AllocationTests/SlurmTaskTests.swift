@testable import Allocation
import Testing

@Suite struct SlurmTaskTests {
    static func task(_ variables: [String: String]) -> SlurmTask? { SlurmTask(environment: { variables[$0] }) }

    static let whole = [
        "SLURM_JOB_ID": "17", "SLURM_STEP_ID": "2", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "4(x2),2",
    ]

    @Test func aTaskOfAStepKnowsItsPlace() throws {
        let task = try #require(Self.task(Self.whole))
        #expect(task.jobID == "17")
        #expect(task.stepID == "2")
        #expect(task.nodeID == 1)
        #expect(task.localID == 1)
        #expect(task.localTasks == 4)
        #expect(task.memoryLimit == nil)
    }

    @Test(arguments: ["SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_LOCALID"])
    func withoutOneOfTheseItIsNoTask(_ missing: String) {
        var variables = Self.whole
        variables[missing] = nil
        #expect(Self.task(variables) == nil)
    }

    @Test func salloCsShellIsNoTask() {
        #expect(Self.task(["SLURM_JOB_ID": "17", "SLURM_TASKS_PER_NODE": "2"]) == nil)
    }

    struct Counts: Sendable { let list: String; let nodes: [Int?] }

    /// sbatch(1): "2(x3),1" is 2,2,2,1.
    static let counts: [Counts] = [
        Counts(list: "1", nodes: [1, nil]),
        Counts(list: "2(x3),1", nodes: [2, 2, 2, 1, nil]),
        Counts(list: "4(x2),2", nodes: [4, 4, 2]),
        Counts(list: "1,2,3", nodes: [1, 2, 3]),
        Counts(list: "128(x1000)", nodes: [128, 128]),
        Counts(list: "", nodes: [nil]),
        Counts(list: "x", nodes: [nil]),
        Counts(list: "2(3)", nodes: [nil]),
        Counts(list: "2(xx)", nodes: [nil]),
        Counts(list: "2(x", nodes: [nil]),
        Counts(list: "(x2)", nodes: [nil]),
    ]

    @Test(arguments: counts) func compressedCountsUnfold(_ counts: Counts) {
        for (node, count) in counts.nodes.enumerated() {
            #expect(SlurmTask.count(in: counts.list, node: node) == count, "node \(node)")
        }
    }

    @Test(
        arguments: [
            ("1048576", UInt64(1) << 40), ("1", 1 << 20), ("0", nil), ("", nil), ("x", nil), ("-1", nil),
        ] as [(String, UInt64?)]) func memoryIsGivenInMebibytesAndZeroIsNoLimit(_ text: String, _ bytes: UInt64?) throws
    {
        var variables = Self.whole
        variables["SLURM_MEM_PER_NODE"] = text
        #expect(try #require(Self.task(variables)).memoryLimit == bytes)
    }

    @Test func anAbsurdAmountOfMemoryIsNoReasonToCrash() throws {
        var variables = Self.whole
        variables["SLURM_MEM_PER_NODE"] = "18446744073709551615"
        _ = Self.task(variables)
        variables["SLURM_STEP_TASKS_PER_NODE"] = "2(x9223372036854775807),2(x9223372036854775807)"
        _ = Self.task(variables)
    }

    @Test func theStepsCountsWinOverTheJobs() throws {
        var variables = Self.whole
        variables["SLURM_TASKS_PER_NODE"] = "9(x3)"
        #expect(try #require(Self.task(variables)).localTasks == 4)
        variables["SLURM_STEP_TASKS_PER_NODE"] = nil
        #expect(try #require(Self.task(variables)).localTasks == 9)
        variables["SLURM_TASKS_PER_NODE"] = nil
        #expect(try #require(Self.task(variables)).localTasks == 1)
    }
}
