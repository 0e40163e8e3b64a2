import Foundation
import LaunchPlanning
import Testing
import TestSupport

/// What the built programs and the pages about them say.
@Suite struct ProgramTests {
    static let root = packageRoot()

    static func built(_ candidates: [String]) -> String? {
        candidates.map { root + "/" + $0 }.first(where: FileManager.default.isExecutableFile(atPath:))
    }

    static let rich = built(["build/libexec/berth/berth-image"])

    static func page(_ path: String) -> String {
        FileManager.default.contents(atPath: root + "/" + path).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    // MARK: Help and pages

    @Test(.enabled(if: rich != nil, "no built berth-image: run Scripts/build")) func helpNamesEveryOptionOfTheLauncher()
        throws
    {
        let help = try Command([try #require(Self.rich), "run", "--help"]).run()
        #expect(help.status == 0, "\(help)")
        for option in RunOption.all {
            #expect(help.output.contains("--\(option.name)"), "--\(option.name) is missing")
            if let short = option.short { #expect(help.output.contains("-\(short)"), "-\(short) is missing") }
        }
    }

    /// Of `verbs`, `run` is the other program's; help of both is this one's.
    @Test(.enabled(if: rich != nil, "no built berth-image: run Scripts/build"), arguments: verbs)
    func helpHasAnExampleAndFitsIntoEightyColumns(_ verb: String) throws {
        let help = try Command(
            [try #require(Self.rich), verb, "--help"], environment: ["PATH": "/usr/bin:/bin", "COLUMNS": "80"]
        ).run()
        #expect(help.status == 0 && help.output.contains("Example"), "\(help)")
        for line in help.output.split(separator: "\n") { #expect(line.count <= 80, "\(verb): \(line)") }
    }

    static let installed = built(["build/bin/berth"])

    /// Both programs together: the doctor starts the launcher for what only that can try.
    @Test(.enabled(if: rich != nil && installed != nil, "no built programs: run Scripts/build"))
    func theDoctorTriesWhatALaunchDoes() throws {
        let berth = try #require(Self.installed)
        let started = ContinuousClock.now
        let ended = try Command([berth, "doctor", "--json"]).run()
        #expect(ContinuousClock.now - started < .seconds(60), "well under a second where nothing else runs")
        #expect([0, 1, 2].contains(ended.status), "\(ended)")
        let read = try #require(JSONSerialization.jsonObject(with: Data(ended.output.utf8)) as? [String: Any])
        let checks = try #require(read["checks"] as? [[String: String]])
        // And "file systems" where one is mounted, by another test perhaps.
        let areas: Set = ["containers", "store", "GPUs", "fabrics", "limits", "cgroups", "Slurm", "credentials"]
        #expect(Set(checks.compactMap { $0["area"] }).subtracting(["file systems"]) == areas)
        #expect(!checks.contains { $0["check"] == "launcher" }, "the launcher was not found: \(ended)")
        let worst = ["ok", "warning", "error"].firstIndex(of: read["status"] as? String ?? "")
        #expect(worst == ended.status.map(Int.init))
        let table = try Command([berth, "doctor"]).run()
        #expect([0, 1, 2].contains(table.status), "\(table)")
        #expect(table.output.hasPrefix("containers\n  "), "\(table)")
        let quiet = try Command([berth, "doctor", "--quiet"]).run()
        #expect(!quiet.output.contains("\n  ok "), "\(quiet)")
    }

    /// The files that a launch would read, by the site's word, and what is wrong with them.
    @Test(.enabled(if: rich != nil && installed != nil, "no built programs: run Scripts/build"))
    func theDoctorReadsCDISpecifications() throws {
        let place = try TemporaryDirectory()
        try place.write("cdi-directory = \(place.path)/cdi\n", to: "berth.conf")
        try place.write("cdiVersion: 0.5.0\nkind: v.com/c\nbogus: 1\n", to: "cdi/bad.yaml")
        let good = #"{"cdiVersion":"0.5.0","kind":"v.com/c","devices":[{"name":"d","containerEdits":{"env":["A=B"]}}]}"#
        for name in ["a", "b"] { try place.write(good, to: "cdi/\(name).json") }
        let ended = try Command(
            [try #require(Self.installed), "doctor", "--json"],
            environment: ["PATH": "/usr/bin:/bin", "HOME": place.path, "BERTH_CONFIG": place.path + "/berth.conf"]
        ).run()
        let read = try #require(JSONSerialization.jsonObject(with: Data(ended.output.utf8)) as? [String: Any])
        let checks = try #require(read["checks"] as? [[String: String]]).filter { $0["check"] == "CDI" }
        #expect(checks.map { $0["status"] } == ["warning", "warning"], "\(ended)")
        #expect(checks.first?["what"]?.contains("cdi/bad.yaml:3 is not taken in: ") == true, "\(ended)")
        #expect(checks.last?["what"]?.contains("two files of one directory define v.com/c=d in ") == true, "\(ended)")
        #expect(checks.allSatisfy { $0["remedy"] != nil } && ended.status != 0)
    }

    /// The folder of a build leaves no trace, so that two builds are equal byte for byte (Scripts/reproducible).
    @Test(
        .enabled(if: rich != nil && installed != nil, "no built programs: run Scripts/build"),
        arguments: ["build/bin/berth", "build/libexec/berth/berth-image"])
    func programsDoNotKnowWhereTheyWereBuilt(_ program: String) throws {
        let bytes = try Data(contentsOf: URL(fileURLWithPath: Self.root + "/" + program), options: .alwaysMapped)
        #expect(bytes.range(of: Data((Self.root + "/").utf8)) == nil)
    }

    /// What is exported cannot be left out by the linker; ICU's data alone would be 30 MB.
    @Test(.enabled(if: rich != nil, "no built berth-image: run Scripts/build")) func theImageToolIsSmall() throws {
        let program = try #require(Self.rich)
        let size = try #require(FileManager.default.attributesOfItem(atPath: program)[.size] as? Int)
        #expect(size < 35_000_000)
        let symbols = try Command(["nm", "--dynamic", "--defined-only", program]).run()
        #expect(symbols.status == 0 && !symbols.output.contains("$s"), "Swift symbols are exported")
        let bytes = try Data(contentsOf: URL(fileURLWithPath: program), options: .alwaysMapped)
        #expect(bytes.range(of: Data("icudt".utf8)) == nil)
    }

    static let verbs: [String] = {
        let sources = LeanTests.files("Sources/berth-image", [".swift"]).flatMap(LeanTests.lines)
        let names = sources.compactMap { line -> String? in
            guard let start = line.range(of: "commandName: \"") else { return nil }
            return String(line[start.upperBound...].prefix { $0 != "\"" })
        }
        return Set(names + ["run", "pull", "images"]).subtracting(["berth", "berth-image", "ls", "rm"]).sorted()
    }()

    @Test(arguments: verbs) func everyVerbHasItsPage(_ verb: String) {
        #expect(
            Self.page("docs/reference/commands/\(verb).md").contains("berth \(verb)"),
            "docs/reference/commands/\(verb).md is missing or of something else")
    }

    @Test(arguments: RunOption.all.map(\.name)) func everyOptionOfRunIsOnItsPage(_ name: String) {
        #expect(Self.page("docs/reference/commands/run.md").contains("--\(name)"))
    }

    @Test(arguments: [
        "mount", "home", "store", "scratch", "scratch-limit", "insecure-registry", "join-wait", "cdi-directory",
        "cdi-hook", "fabric", "fabric-mount", "fabric-library", "fabric-variable", "profile", "ulimit", "require",
        "enforce", "allow-device", "system-store", "shared-store", "blob-cache", "keep-storage", "prune-until",
        "layer-limit",
    ])
    func everySettingIsOnItsPage(_ name: String) {
        #expect(Self.page("docs/reference/configuration.md").contains("`\(name)"))
    }

    @Test func filesThatPagesPointToAreThere() {
        for file in LeanTests.files("docs", [".md"]) + ["README.md"]
        where FileManager.default.fileExists(atPath: Self.root + "/" + file) {
            let directory = Self.root + "/" + file.split(separator: "/").dropLast().joined(separator: "/")
            for part in Self.page(file).components(separatedBy: "](").dropFirst() {
                let target = String(part.prefix { $0 != ")" && $0 != "#" && $0 != " " })
                guard !target.isEmpty, !target.contains("://"), !target.hasPrefix("mailto:"),
                    target.contains(".") || target.contains("/")
                else { continue }
                #expect(FileManager.default.fileExists(atPath: directory + "/" + target), "\(file) points to \(target)")
            }
        }
    }
}
