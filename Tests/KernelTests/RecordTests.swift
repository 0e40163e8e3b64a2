import Foundation
import Testing
import TestSupport

@Suite(.needsLauncher) struct RecordTests {
    /// The records that a box's runs left, as JSON.
    private func records(_ box: Box) throws -> [[String: Any]] {
        let top = box.path("home/berth/runs")
        var found: [[String: Any]] = []
        for name in (FileManager.default.enumerator(atPath: top)?.allObjects as? [String] ?? []).sorted()
        where !name.hasSuffix("/") && name.contains("/") {
            #expect(name.hasSuffix(".json"), "half a record was left: \(name)")
            let data = try #require(FileManager.default.contents(atPath: top + "/" + name))
            found.append(try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any]))
        }
        return found
    }

    private func variable(_ record: [String: Any], _ name: String) -> String? {
        (record["environment"] as? [[String: String]])?.first { $0["name"] == name }?["value"]
    }

    @Test func aRunIsRecordedWithItsFilesAndWithoutItsSecrets() throws {
        let box = try Box(.ordinary)
        try box.directory.write("record = yes\nmask = MY_*\n", to: "berth.conf")
        try box.directory.write("print(1)\n", to: "data/train.py")
        let words = [
            "run", "-v", "./data:/data:ro", "-e", "WANDB_API_KEY=abc", "-e", "LR=0.1", "-w", "/data", box.image, "--", "probe",
            "cat", "train.py",
        ]
        let ended = try box.command(
            berth: words,
            environment: [
                "XDG_STATE_HOME": box.path("home"), "MY_CODE": "c", "PROXY": "http://user:word@proxy:3128/", "HF": "hf_abcdefghijklmnopqrstuv", "MAX_TOKENS": "5",
            ]
        ).run()
        #expect(ended.status == 0 && ended.errors.isEmpty, "\(ended)")
        let record = try #require(try records(box).first)
        #expect(record["command"] as? [String] == ["probe", "cat", "train.py"])
        #expect(
            record["options"] as? [String] == ["-v", "./data:/data:ro", "-e", "WANDB_API_KEY=(masked)", "-e", "LR=0.1", "-w", "/data"])
        #expect((record["image"] as? [String: Any])?["reference"] as? String == box.image)
        let mount = try #require((record["mounts"] as? [[String: Any]])?.first)
        #expect(mount["source"] as? String == box.path("data") && mount["readOnly"] as? Bool == true)
        let file = try #require((record["files"] as? [[String: String]])?.first)
        let hash = try Command(["sha256sum", box.path("data/train.py")]).run().output.prefix { $0 != " " }
        #expect(file == ["path": "train.py", "source": box.path("data/train.py"), "sha256": String(hash)])
        for name in ["WANDB_API_KEY", "MY_CODE", "PROXY", "HF"] { #expect(variable(record, name) == "(masked)", "\(name)") }
        #expect(variable(record, "LR") == "0.1" && variable(record, "MAX_TOKENS") == "5")
        let user = try #require(record["user"] as? [String: Any])
        #expect(user["uid"] as? Int == Int(box.caller.user))
    }

    @Test func nothingIsRecordedUnasked() throws {
        let box = try Box(.any)
        let job = ["SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train"]
        #expect(try box.run(probe: "id", environment: job).status == 0)
        #expect(try records(box).isEmpty)
        try box.directory.write("record = yes\n", to: "berth.conf")
        #expect(try box.run(probe: "id", environment: job).status == 0)
        #expect((try records(box).first?["job"] as? [String: String]) == ["id": "4711", "name": "train"])
    }

    /// One for a step: the other tasks and nodes would say the same.
    @Test func theFirstTaskOfTheFirstNodeRecordsAStep() throws {
        let box = try Box(.any)
        try box.directory.write("record = yes\n", to: "berth.conf")
        for (node, local) in [(0, 1), (1, 0), (0, 0)] {
            let task = [
                "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_PROCID": "\(node)", "SLURM_NODEID": "\(node)",
                "SLURM_LOCALID": "\(local)", "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
            ]
            #expect(try box.run(probe: "id", environment: task).status == 0)
            #expect(try records(box).count == (node == 0 && local == 0 ? 1 : 0))
        }
    }

    @Test func aRecordThatCannotBeWrittenIsOneLine() throws {
        let box = try Box(.ordinary)
        try box.directory.write("", to: "file")
        try box.directory.write("record = yes\nrecord-directory = \(box.path("file"))/runs\n", to: "berth.conf")
        let ended = try box.run(probe: "id")
        #expect(ended.status == 0)
        #expect(ended.errors.contains("this run is not recorded in \(box.path("file"))/runs: Not a directory"), "\(ended)")
    }

    @Test func theCommitOfTheWorkTreeIsRecorded() throws {
        let box = try Box(.ordinary)
        try box.directory.write("record = yes\n", to: "berth.conf")
        try box.directory.write("a", to: "work/a file")
        box.give("work")
        let script = """
            cd work && export XDG_STATE_HOME=$HERE/home && export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a
            git init -q -b trunk . && git add . && git commit -qm one && git rev-parse HEAD
            "$BERTH" run --init "$IMAGE" -- probe id >/dev/null && echo b >'a file' && "$BERTH" run "$IMAGE" -- probe id >/dev/null
            """
        let ended = try box.shell(script).run()
        #expect(ended.status == 0, "\(ended)")
        let git = try records(box).map { try #require($0["git"] as? [String: Any]) }
        #expect(git.count == 2)
        for found in git {
            #expect(found["commit"] as? String == ended.lines[0] && found["branch"] as? String == "trunk", "\(found)")
        }
        let changed = git.map { $0["changed"] as? [String] ?? [] }
        #expect(changed.contains([]) && changed.contains(["a file"]), "\(changed)")
    }

    /// Its configuration names programs.
    @Test(.needsRoot, arguments: [false, true]) func aWorkTreeOfAnotherUserIsNone(_ isLink: Bool) throws {
        let box = try Box(.ordinary)
        try box.directory.write("record = yes\n", to: "berth.conf")
        try box.directory.makeDirectory("work/sub")
        try box.directory.makeDirectory("theirs")
        box.give("work")
        let made = try Command(["sh", "-c", "git init -q '\(box.path("theirs"))' && mv '\(box.path("theirs/.git"))' '\(box.path("work"))/\(isLink ? "git" : ".git")'"]).run()
        #expect(made.status == 0, "\(made)")
        let ended = try box.shell(
            (isLink ? "ln -s git work/.git; " : "")
                + "cd work/sub && export XDG_STATE_HOME=$HERE/home && \"$BERTH\" run \"$IMAGE\" -- probe id").run()
        #expect(ended.status == 0, "\(ended)")
        let record = try #require(try records(box).first)
        #expect(record["git"] == nil, "\(record)")
    }

    /// Opening it would end its writer by SIGPIPE.
    @Test func aWordThatIsAFIFOIsNotOpened() throws {
        let box = try Box(.ordinary)
        try box.directory.write("record = yes\n", to: "berth.conf")
        try box.directory.makeDirectory("data")
        box.give("data")
        let script = """
            mkfifo data/pipe && { echo x >data/pipe; echo "written $?" >data/outcome; } &
            while ! test -p data/pipe; do :; done
            XDG_STATE_HOME=$HERE/home "$BERTH" run -v ./data:/data -w /data "$IMAGE" -- probe exit 0 pipe || exit
            timeout 20 cat data/pipe && wait && cat data/outcome
            """
        let ended = try box.shell(script).run()
        #expect(ended.status == 0 && ended.output == "x\nwritten 0\n", "\(ended)")
        #expect((try records(box).first?["files"] as? [Any])?.isEmpty == true)
    }

    /// In a directory that others can write to, the month's may be another user's.
    @Test(.needsRoot, arguments: ["ln -s /tmp", "mkdir -m 777", "install -d -o 4242 -m 777"])
    func aRecordGoesIntoADirectoryOfTheCallersOnly(_ command: String) throws {
        let box = try Box(.ordinary)
        try box.directory.makeDirectory("shared")
        try box.directory.write("record = yes\nrecord-directory = \(box.path("shared"))\n", to: "berth.conf")
        box.give("shared")
        let made = try Command(["sh", "-c", "\(command) '\(box.path("shared"))'/$(date -u +%Y%m)"]).run()
        #expect(made.status == 0, "\(made)")
        let ended = try box.run(probe: "id")
        #expect(ended.status == 0 && ended.errors.contains("this run is not recorded in"), "\(ended)")
    }
}
