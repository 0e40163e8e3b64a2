import Foundation
import TestSupport
import Testing

/// `--pid private` and `--init`: the caller's process stays outside and stands for the command.
@Suite(.needsLauncher) struct ProcessNamespaceTests {
    static let canMountProc: Bool = {
        // A user may mount a /proc only where the whole of another one is seen: not in most containers.
        let box = try? Box(.ordinary)
        return (try? box?.run(["--pid", "private"], probe: "exit").status) == 0
    }()

    static let callers: [Caller] = Caller.all.filter { $0 == .root || canMountProc }

    @Test(arguments: callers) func theCommandIsProcessOneAndSeesItsOwn(_ caller: Caller) throws {
        let box = try Box(caller)
        #expect(try box.run(["--pid", "private"], probe: "pid").lines == ["1"])
        #expect(try box.run(["--init"], probe: "pid").lines == ["2"])
        let seen = try box.run(["--init"], probe: "stat", "/proc/1", "/proc/2", "/proc/\(getppid())/status")
        #expect(seen.lines.count == 3 && seen.lines[2].hasSuffix(": ENOENT"), "\(seen)")
        #expect(seen.lines.prefix(2).allSatisfy { $0.contains(": dir") }, "\(seen)")
    }

    @Test(arguments: callers) func statusesAndSignalsAreTheCommands(_ caller: Caller) throws {
        let box = try Box(caller)
        for options in [["--pid", "private"], ["--init"]] {
            #expect(try box.run(options, probe: "exit", "7").status == 7)
            #expect(try box.run(options, probe: "nosuch").status == 98)
            let missing = try box.run(berth: ["run"] + options + [box.image, "--", "/nothing"])
            #expect(missing.status == 127, "\(missing)")
        }
        // Process 1 survives its own signals; with an init the command is another one.
        let killed = try box.shell("$BERTH run --init $IMAGE -- probe kill 10; echo $?").run()
        #expect(killed.lines == ["138"], "\(killed)")
    }

    @Test(arguments: callers) func signalsReachTheCommandAndStopsShowOutside(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.makeDirectory("out", mode: 0o777)
        let script = """
            $BERTH run --init -v ./out:/out $IMAGE -- probe signal 15 >out/log &
            until grep -q ready out/log 2>/dev/null; do sleep 0.01; done
            kill -TERM $!
            wait $!
            echo $?; cat out/log
            """
        #expect(try box.shell(script).run().lines == ["0", "ready", "signal 15"])
    }

    /// The process outside gets the one signal from what is called slurmstepd, and the other from a process of its own.
    @Test(arguments: callers) func whatSlurmSendsToEveryProcessIsNotPassedOn(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.makeDirectory("out")
        box.give("out")
        for (tracking, seen) in [("proctrack/linuxproc", "12"), ("proctrack/cgroup", "10")] {
            try box.directory.write("ProctrackType=\(tracking)\n", to: "out/slurm.conf", mode: 0o644)
            let script = """
                cp /bin/sh out/slurmstepd
                export BERTH IMAGE SLURM_CONF=$PWD/out/slurm.conf SLURM_JOB_ID=7 SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_LOCALID=0
                rm -f out/log
                out/slurmstepd -c '
                  $BERTH run -q --pid private --enforce none -v ./out:/out $IMAGE -- probe signal 10 12 >out/log &
                  until grep -q ready out/log 2>/dev/null; do sleep 0.01; done
                  kill -USR1 $!
                  [ $1 = 10 ] || env kill -USR2 $!
                  wait $!' - \(seen)
                cat out/log
                """
            let ended = try box.shell(script).run()
            #expect(ended.lines == ["ready", "signal \(seen)"], "\(ended)")
        }
    }

    /// The command stops itself; then it waits for ever.
    @Test(arguments: callers) func theProcessOutsideStopsAndContinuesWithTheCommand(_ caller: Caller) throws {
        let box = try Box(caller)
        let script = """
            state() { sed 's/.*) //; s/ .*//' /proc/$1/stat; }
            $BERTH run --init $IMAGE -- probe kill 19 &
            until [ $(state $!) = T ]; do sleep 0.01; done
            kill -CONT $!
            until [ $(state $!) = S ]; do sleep 0.01; done
            kill -TERM $!
            wait $!
            echo $?
            """
        #expect(try box.shell(script).run().lines == ["143"])
    }

    @Test(arguments: callers) func everythingEndsWithTheProcessOutside(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.makeDirectory("out", mode: 0o777)
        // The pipe ends when the last process that holds it does.
        let script = """
            mkfifo out/pipe
            $BERTH run --init $IMAGE -- probe signal 15 >out/pipe &
            berth=$!
            (read line; kill -KILL $berth; cat >/dev/null; echo ended) <out/pipe
            """
        let ended = try box.shell(script).run()
        #expect(ended.lines.suffix(1) == ["ended"], "\(ended)")
    }
}
