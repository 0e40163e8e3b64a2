import Foundation
import ImageSpec
import Store
import TestSupport
import Testing

/// Many processes pull one image into one store: one downloads it, and all get it.
@Suite(.serialized, .enabled(if: Program.isBuilt)) struct CrowdTests {
    static func start(_ count: Int, _ scene: Scene, _ options: [String] = ["--if-missing"]) throws -> [Running] {
        try (0..<count).map { _ in
            try Program.command(["pull"] + options + ["--store", scene.store, scene.source()], home: scene.place.path)
                .start()
        }
    }

    /// Seconds on an idle machine, but it may be busy. Waiting for a dead leader takes longer.
    static let secondsOfTakeover = 60.0

    /// The number of processes that report a pull.
    static func pulled(_ ended: [Ended]) -> Int { ended.count { $0.errors.contains(" pulled, ") } }

    @Test func of64OnePulls() throws {
        let scene = try Scene(.sample())
        let ended = try Self.start(64, scene).map { try $0.wait() }
        for one in ended { #expect(one.status == 0, "\(one)") }
        #expect(Self.pulled(ended) == 1)
        #expect(try scene.images().count == 1)
        #expect(try scene.prune().run().status == 0)
        #expect(try scene.garbage() == [])
    }

    /// The process that unpacks the layer is killed; another one takes over at once, and all get the image.
    @Test func theLeaderIsKilledAndAnotherTakesOver() throws {
        let scene = try Scene(.sample(layers: 1, files: 50, largest: 64 << 20))
        let crowd = try Self.start(12, scene)
        var dead: Set<Int32> = []
        var killedAt: Date?
        var longest = 0.0
        let end = Date().addingTimeInterval(20)
        while Date() < end {
            // The image may be published between the two reads that this compares; the next round sees it.
            let isThere = (try? scene.images())?.isEmpty == false
            let leader = Self.holder(below: scene.store + "/drafts")
            let isNew = leader.map { !dead.contains($0) } ?? isThere
            if isNew, let since = killedAt {
                longest = max(longest, -since.timeIntervalSinceNow)
                killedAt = nil
            }
            if isThere || (dead.count == 3 && killedAt == nil) { break }
            if let leader, isNew, dead.count < 3, crowd.contains(where: { $0.processID == leader }) {
                kill(leader, SIGKILL)
                dead.insert(leader)
                killedAt = Date()
            }
            usleep(2000)
        }
        print("\(dead.count) leaders killed, taken over from after \(longest) s at most")
        #expect(killedAt == nil && longest < Self.secondsOfTakeover, "\(longest) s")
        let ended = try crowd.map { ($0.processID, try $0.wait()) }
        #expect(!dead.isEmpty, "nobody was met at work")
        for (id, one) in ended where !dead.contains(id) { #expect(one.status == 0, "\(one)") }
        #expect(Self.pulled(ended.map(\.1)) == 1)
        #expect(try scene.images().count == 1)
        #expect(try scene.prune().run().status == 0)
        #expect(try scene.garbage() == [])
    }

    /// The process that locks a draft: proc_pid_fdinfo(5).
    static func holder(below drafts: String) -> Int32? {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: drafts)) ?? []  // absent so far
        let numbers = files.compactMap { name -> String? in
            let attributes = try? FileManager.default.attributesOfItem(atPath: "\(drafts)/\(name)/alive")  // gone
            return (attributes?[.systemFileNumber] as? Int).map(String.init)
        }
        for process in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {  // exists
            guard let id = Int32(process) else { continue }
            let place = "/proc/\(process)/fdinfo"
            for file in (try? FileManager.default.contentsOfDirectory(atPath: place)) ?? [] {  // it may have ended
                guard let bytes = FileManager.default.contents(atPath: "\(place)/\(file)") else { continue }
                for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n")
                where line.contains("OFDLCK") && line.contains("WRITE") {
                    if numbers.contains(where: { line.contains(":\($0) ") }) { return id }
                }
            }
        }
        return nil
    }

    static let registryTools = ["/usr/bin/docker-registry", "/usr/bin/skopeo", "/usr/bin/curl", "/usr/sbin/ip"]
        .allSatisfy(FileManager.default.isExecutableFile(atPath:))

    /// Sixty-four processes in four network namespaces, like four nodes, with a shared store, or with a store each and
    /// a shared blob cache. The registry counts the requests. `isLeaderKilled`: the first process that unpacks a layer
    /// or fills the cache is killed, and another one continues.
    @Test(
        .enabled(if: Program.isRoot && registryTools, "root, docker-registry, skopeo, curl and iproute2"),
        arguments: [false, true], [false, true])
    func fourNetworkNamespacesDownloadOnce(_ haveCache: Bool, _ isLeaderKilled: Bool) throws {
        // Large enough that the killed process is still at work.
        let scene = try Scene(.sample(largest: isLeaderKilled ? 24 << 20 : 1 << 20))
        if haveCache {
            try scene.place.makeDirectory("cache")
            try scene.place.write("blob-cache = \(scene.place.path)/cache\n", to: "berth.conf")
        }
        let root = packageRoot(#filePath.replacingOccurrences(of: "/Faults/", with: "/"))
        let script = """
            ip link set lo up
            ip link add br0 type bridge && ip address add 10.99.7.1/24 dev br0 && ip link set br0 up
            stop() { \(root)/Scripts/registry stop "$PWD/registry" 2>/dev/null || true; kill $spaces 2>/dev/null || true; }
            spaces=
            trap stop EXIT
            \(root)/Scripts/registry start --listen 10.99.7.1:5000 "$PWD/registry" 2>/dev/null
            skopeo copy -q --insecure-policy --dest-tls-verify=false "$SOURCE" docker://10.99.7.1:5000/team/app:1
            for n in 1 2 3 4; do
              unshare -n sleep 300 & space=$!
              spaces="$spaces $space"
              until [ "$(readlink /proc/$space/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep .01; done
              ip link add v$n type veth peer name eth0 netns $space
              ip link set v$n master br0 up
              nsenter -t $space -n sh -c "ip link set lo up; ip address add 10.99.7.1$n/24 dev eth0; ip link set eth0 up"
            done
            : >registry/access.log
            for space in $spaces; do
              for m in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
                nsenter -t $space -n "$@" pull -q --if-missing --store "$PWD/store\(haveCache ? "$space" : "")" 10.99.7.1:5000/team/app:1 >>names 2>>errors &
                pulls="$pulls $!"
              done
            done
            killed=0
            if \(isLeaderKilled); then
              for i in $(seq 400); do
                for lock in \(haveCache ? "cache/*/* cache/*" : "store/drafts/*/alive"); do
                  [ -f "$lock" ] || continue
                  # /proc/locks does not name who holds an open file description lock; the holder's fdinfo shows it.
                  inode=$(stat -c %i "$lock" 2>/dev/null) || continue
                  leader=
                  for pull in $pulls; do
                    grep -qs "OFDLCK .*WRITE .*:$inode " /proc/$pull/fdinfo/* && { leader=$pull; break; }
                  done
                  # What it keeps others from: works that go on under the same lock, a blob's file or a layer's name.
                  locks=$(cat /proc/${leader:-none}/fdinfo/* 2>/dev/null |
                    awk '$3 == "OFDLCK" && $5 == "WRITE" { split($7, p, ":"); print p[3] }') || :
                  case " $pulls " in *" ${leader:-none} "*) kill -9 $leader && killed=1 && break 2;; esac
                done
                sleep .01
              done
            fi
            echo killed $killed
            since=$(date +%s%N) taken=0
            for inode in ${locks:-}; do
              [ -n "$(find cache store*/locks -inum "$inode" 2>/dev/null)" ] || continue
              until awk -v inode=":$inode$" '$2 == "OFDLCK" && $6 ~ inode { found = 1 } END { exit !found }' /proc/locks ||
                [ -z "$(find cache store*/locks -inum "$inode" 2>/dev/null)" ] || [ $((($(date +%s%N) - since) / 1000000000)) -gt 60 ]; do sleep .01; done
            done
            taken=$((($(date +%s%N) - since) / 1000000))
            failed=0
            for pull in $pulls; do wait $pull 2>/dev/null || failed=$((failed + 1)); done
            sleep .3
            echo taken over after $taken ms
            echo failed $failed
            echo names $(wc -l <names)
            echo blobs $(grep -c 'GET /v2/team/app/blobs/' registry/access.log)
            """
        var command = try Program.command(
            [], home: scene.place.path, through: ["unshare", "-n", "-m", "bash", "-ec", script, "bash"],
            environment: ["SOURCE": scene.source(), "BERTH_INSECURE_REGISTRIES": "10.99.7.1:5000"])
        command.directory = scene.place.path
        let ended = try command.run()
        let context: Comment = "\(ended)\n\(scene.place.text("errors")?.prefix(2000) ?? "")"
        // Three layers once, and the configuration once for each store; more only because of the killed process.
        let blobs = haveCache ? 7 : 4
        let told = Array(ended.lines.suffix(5))
        try #require(told.count == 5, context)
        let lines = told.filter { !$0.hasPrefix("taken over") }
        if isLeaderKilled {
            print("\(haveCache ? "cache" : "one store"): \(told[1])")
            let milliseconds = Double(told[1].filter(\.isNumber)) ?? .infinity
            #expect(milliseconds < Self.secondsOfTakeover * 1000, context)
            #expect(Array(lines[..<3]) == ["killed 1", "failed 1", "names 63"], context)
            let asked = Int(lines[3].dropFirst("blobs ".count)) ?? 0
            #expect((blobs...blobs + 4).contains(asked), context)
        } else {
            #expect(lines == ["killed 0", "failed 0", "names 64", "blobs \(blobs)"], context)
        }
        let stores = try FileManager.default.contentsOfDirectory(atPath: scene.place.path).filter {
            $0.hasPrefix("store")
        }
        #expect(stores.count == (haveCache ? 4 : 1))
        for store in stores { #expect(try scene.images(in: scene.place.path + "/" + store).count == 1) }
    }
}
