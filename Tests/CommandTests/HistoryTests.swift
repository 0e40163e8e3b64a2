import Diagnostics
import Foundation
import Hashing
import ImageSpec
import Testing
import TestSupport

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
        #expect(Replay.unmasked(["-e", "URL=https://(masked)@h/", "-eA=x(masked)"]) == ["-e", "URL", "-eA"])
        #expect(Replay.unmasked(["-v", "/a:/b:(masked)"]) == nil && Replay.unmasked(["-e", "(masked)"]) == nil)
    }

    /// The digest of its manifest.
    private static func writeLayout(_ place: TemporaryDirectory, author: String) throws -> String {
        func blob(_ text: String) throws -> String {
            let digest = Digest(hashing: Array(text.utf8), with: .sha256)
            try place.write(text, to: "blobs/sha256/\(digest.hex)")
            return #""digest":"\#(digest)","size":\#(text.utf8.count)"#
        }
        let platform = #""architecture":"\#(Platform.host.architecture)","os":"linux""#
        let config = try blob(#"{\#(platform),"author":"\#(author)","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#)
        let type = "application/vnd.oci.image"
        let manifest = try blob(
            #"{"schemaVersion":2,"config":{"mediaType":"\#(type).config.v1+json",\#(config)},"layers":[]}"#)
        try place.write(#"{"imageLayoutVersion":"1.0.0"}"#, to: "oci-layout")
        try place.write(
            #"{"schemaVersion":2,"manifests":[{"mediaType":"\#(type).manifest.v1+json",\#(manifest)}]}"#, to: "index.json")
        return String(manifest.split(separator: "\"")[2])
    }

    /// Its name alone says nothing of what is in it.
    @Test func aLayoutThatIsAnotherImageIsNotRunAgain() async throws {
        let place = try TemporaryDirectory()
        let name = "oci:" + place.path
        func run(_ digest: String?) throws -> StoredRun {
            var image = ["reference": "oci:here", "name": name, "platform": Platform.host.description]
            image["digest"] = digest
            return try Self.run(["image": image])
        }
        let settings = try Settings()
        let one = try run(try Self.writeLayout(place, author: "one"))
        #expect(try await Replay.image(of: one, settings) == name)
        // Written again, it is the same image.
        _ = try Self.writeLayout(place, author: "one")
        #expect(try await Replay.image(of: one, settings) == name)
        _ = try Self.writeLayout(place, author: "two")
        await #expect(throws: Failure.self) { try await Replay.image(of: one, settings) }
        try FileManager.default.removeItem(atPath: place.path + "/index.json")
        await #expect(throws: Failure.self) { try await Replay.image(of: one, settings) }
        let error = await #expect(throws: Failure.self) { try await Replay.image(of: try run(nil), settings) }
        #expect(error?.report.text.contains("has no digest") == true)
        #expect(try await Replay.image(of: try Self.run(), settings) == "docker.io/library/train:7@sha256:aa")
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
