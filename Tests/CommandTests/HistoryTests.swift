import Foundation
import Testing

@testable import berth_image

@Suite struct HistoryTests {
    /// A record as the launcher writes it, with some members replaced.
    static func run(_ changes: [String: Any] = [:]) throws -> StoredRun {
        var record: [String: Any] = [
            "record": 1, "id": "20261130-194512-3f09ac", "time": "2026-11-30T19:45:12Z", "berth": "0.1.0",
            "image": [
                "reference": "train:7", "name": "docker.io/library/train:7", "platform": "linux/amd64",
                "pinned": "docker.io/library/train:7@sha256:aa", "digest": "sha256:aa",
            ],
            "command": ["python3", "train.py", "--lr=0.1"], "written": ["python3", "train.py", "--lr=0.1"],
            "options": ["-v", "/data:/data:ro", "-e", "API_KEY=(masked)", "--env=TOKEN=(masked)"],
            "workingDirectory": ["host": "/home/a", "container": "/work"],
            "user": ["name": "alice", "uid": 2001, "gid": 2001, "rootInside": false],
            "mounts": [["source": "/data", "target": "/data", "readOnly": true, "fileSystem": "NFS"]],
            "environment": [
                ["name": "LR", "value": "0.1", "from": "host"], ["name": "SLURM_JOB_ID", "value": "4711", "from": "host"],
            ],
            "job": [
                "id": "4711", "step": "0", "nodes": "2", "tasks": "4", "tasksPerNode": "2(x2)", "partition": "gpu", "account": "team",
                "gpusOnNode": "1",
            ],
            "devices": [
                "nodes": ["/dev/nvidia0", "/dev/nvidiactl"], "driver": "550.54.15",
                "gpus": [["node": "/dev/nvidia0", "address": "0000:1b:00.0", "uuid": "GPU-1", "model": "NVIDIA H100"]],
            ],
            "limits": [["name": "memlock", "soft": 1, "hard": UInt64.max]],
            "host": ["name": "node1", "kernel": "6.1.0"],
            "files": [["path": "train.py", "sha256": String(repeating: "a", count: 64)]],
            "git": ["directory": "/home/a", "commit": "c0ffee", "branch": "main", "changed": ["a b.py"]],
        ]
        record.merge(changes) { $1 }
        return try JSONDecoder().decode(StoredRun.self, from: JSONSerialization.data(withJSONObject: record))
    }

    @Test func runsThatDifferInNothingThatMattersAreEqual() throws {
        let later = try Self.run([
            "id": "20261201-000000-000000", "time": "2026-12-01T00:00:00Z",
            "environment": [
                ["name": "SLURM_JOB_ID", "value": "4712", "from": "host"], ["name": "LR", "value": "0.1", "from": "host"],
            ],
        ])
        #expect(RunText.differences(try Self.run(), later).isEmpty)
    }

    @Test func theMostTellingDifferenceComesFirst() throws {
        let later = try Self.run([
            "image": ["reference": "train:7", "name": "docker.io/library/train:7", "platform": "linux/amd64", "digest": "sha256:bb"],
            "mounts": [], "devices": ["nodes": [String](), "driver": "570.1"],
            "environment": [["name": "LR", "value": "0.2", "from": "host"]],
        ])
        let found = RunText.differences(try Self.run(), later)
        #expect(found.map(\.name) == ["image", "mounts", "gpus", "driver", "devices", "environment"])
        #expect(found[0].lines == ["- sha256:aa", "+ sha256:bb"])
        #expect(found[3].lines == ["- 550.54.15", "+ 570.1"])
        #expect(found[5].lines == ["- LR=0.1", "+ LR=0.2"])
    }

    @Test func aReplayAsksForAsMuchAsTheRunHad() throws {
        let run = try Self.run()
        let size = ["--nodes=2", "--ntasks=4", "--ntasks-per-node=2"]
        #expect(Replay.allocation(run, isInJob: true) == size + ["--gres=gpu:1"])
        #expect(Replay.allocation(run, isInJob: false) == size + ["--gres=gpu:1", "--partition=gpu", "--account=team"])
        #expect(Replay.unmasked(run.options) == ["-v", "/data:/data:ro", "-e", "API_KEY", "--env=TOKEN"])
    }

    @Test func aListHasARowForEachRun() throws {
        let rows = HistoryCommand.List.table([try Self.run(), try Self.run(["command": ["sh", "-c", "a b"]])])
        #expect(
            rows == [
                "ID                      TIME              JOB     GPUS  IMAGE                      COMMAND",
                "20261130-194512-3f09ac  2026-11-30 19:45  4711.0  1     docker.io/library/train:7  python3 train.py --lr=0.1",
                "20261130-194512-3f09ac  2026-11-30 19:45  4711.0  1     docker.io/library/train:7  sh -c 'a b'",
            ])
    }

    @Test func timesAreDatesOrAges() throws {
        #expect(try HistoryCommand.List.start("2026-11-30") == "20261130")
        #expect(try HistoryCommand.List.start("2h").count == 15)
        for text in ["", "x", "3y", "2026-13", "-1d", "d"] {
            #expect(throws: Failure.self, "\(text)") { try HistoryCommand.List.start(text) }
        }
    }
}
