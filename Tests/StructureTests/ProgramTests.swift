import Foundation
import LaunchPlanning
import SiteConfig
import Testing
import TestSupport

/// The built programs and their pages.
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

    /// `run` belongs to the launcher, but the image tool prints the help of both.
    @Test(.enabled(if: rich != nil, "no built berth-image: run Scripts/build"), arguments: verbs)
    func helpHasAnExampleAndFitsIntoEightyColumns(_ verb: String) throws {
        let help = try Command(
            [try #require(Self.rich), verb, "--help"], environment: ["PATH": "/usr/bin:/bin", "COLUMNS": "80"]
        ).run()
        #expect(help.status == 0 && help.output.contains("Example"), "\(help)")
        for line in help.output.split(separator: "\n") { #expect(line.count <= 80, "\(verb): \(line)") }
    }

    static let installed = built(["build/bin/berth"])

    /// Needs both programs, because the doctor starts the launcher for its trials.
    @Test(.enabled(if: rich != nil && installed != nil, "no built programs: run Scripts/build"))
    func theDoctorTriesWhatALaunchDoes() throws {
        let berth = try #require(Self.installed)
        let started = ContinuousClock.now
        let ended = try Command([berth, "doctor", "--json"]).run()
        #expect(ContinuousClock.now - started < .seconds(60), "well under a second where nothing else runs")
        #expect([0, 1, 2].contains(ended.status), "\(ended)")
        let read = try #require(JSONSerialization.jsonObject(with: Data(ended.output.utf8)) as? [String: Any])
        let checks = try #require(read["checks"] as? [[String: String]])
        // Also "file systems" if one is mounted, perhaps by another test.
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

    /// The files that a launch would read according to the site, and their errors.
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
        #expect(checks.first?["what"]?.contains("cdi/bad.yaml:3 is rejected: ") == true, "\(ended)")
        #expect(checks.last?["what"]?.contains("two files of one directory define v.com/c=d in ") == true, "\(ended)")
        #expect(checks.allSatisfy { $0["remedy"] != nil } && ended.status != 0)
    }

    @Test(.enabled(if: rich != nil && installed != nil, "no built programs: run Scripts/build"))
    func settingsAreShownWithTheirPlaceAndFilesAreChecked() throws {
        let place = try TemporaryDirectory()
        try place.write("home = yes\nmount = /usr /u/%u\nulimit = nofile=64\n", to: "berth.conf")
        try place.write("home = no\nregistries = deny docker.io/evil\n", to: "berth.conf.d/a.conf")
        func berth(_ words: String...) throws -> Ended {
            try Command(
                [try #require(Self.installed), "config"] + words,
                environment: ["PATH": "/usr/bin:/bin", "HOME": place.path, "BERTH_CONFIG": place.path + "/berth.conf"]
            ).run()
        }
        let all = try berth("show")
        #expect(all.status == 0)
        func line(_ name: String) -> [Substring] {
            all.output.split(separator: "\n").first { $0.hasPrefix(name + " ") }?.split(separator: " ") ?? []
        }
        #expect(line("home") == ["home", "no", "\(place.path)/berth.conf.d/a.conf:1"], "\(all)")
        #expect(line("scratch") == ["scratch", "memory", "default"], "\(all)")
        #expect(line("mount").suffix(1) == ["\(place.path)/berth.conf:2"] && !all.output.contains("%u"), "\(all)")
        #expect(try berth("show", "--quiet", "registries").output == "deny docker.io/evil\n")
        let store = try berth("show", "--json", "store")
        let rows = try #require(JSONSerialization.jsonObject(with: Data(store.output.utf8)) as? [[String: String]])
        #expect(rows.count == 1 && rows[0]["place"] == "default" && rows[0]["name"] == "store", "\(store)")
        let unknown = try berth("show", "hoem")
        #expect(unknown.status == 125 && unknown.errors.contains("did you mean home?"), "\(unknown)")

        #expect(try berth("check").status == 0)
        try place.write("hoem = yes\nulimit = nonsense=1\nstore = /s/%u\n", to: "new.conf")
        let checked = try berth("check", place.path + "/new.conf")
        #expect(checked.status == 125, "\(checked)")
        for text in ["new.conf, line 1: unknown setting \"hoem\"", "did you mean home?", "new.conf, line 2: ulimit"] {
            #expect(checked.errors.contains(text), "\(text): \(checked)")
        }
        #expect(!checked.errors.contains("line 3"), "\(checked)")
    }

    /// The programs must not depend on the build folder, so that two builds are identical (Scripts/reproducible).
    @Test(
        .enabled(if: rich != nil && installed != nil, "no built programs: run Scripts/build"),
        arguments: ["build/bin/berth", "build/libexec/berth/berth-image"])
    func programsDoNotKnowWhereTheyWereBuilt(_ program: String) throws {
        let bytes = try Data(contentsOf: URL(fileURLWithPath: Self.root + "/" + program), options: .alwaysMapped)
        #expect(bytes.range(of: Data((Self.root + "/").utf8)) == nil)
    }

    /// The linker cannot omit exported symbols. ICU's data alone would be 30 MB.
    @Test(.enabled(if: rich != nil, "no built berth-image: run Scripts/build")) func theImageToolIsSmall() throws {
        let program = try #require(Self.rich)
        let size = try #require(FileManager.default.attributesOfItem(atPath: program)[.size] as? Int)
        #expect(size < 40_000_000)
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
        return Set(names + ["run", "pull", "images"])
            .subtracting(["berth", "berth-image", "ls", "rm", "show", "check", "df", "validate", "render", "words"])
            .sorted()
    }()

    @Test(arguments: verbs) func everyVerbHasItsPage(_ verb: String) {
        #expect(
            Self.page("docs/reference/commands/\(verb).md").contains("berth \(verb)"),
            "docs/reference/commands/\(verb).md is missing or of something else")
        #expect(
            Self.page("docs/reference/commands/\(verb).md").contains("\n<!-- man: berth-\(verb)(1): "),
            "docs/reference/commands/\(verb).md is the source of no man page")
        #expect(Self.page("docs/reference/commands/berth.md").contains("\n| [`berth \(verb)`](\(verb).md) | "))
    }

    @Test(arguments: RunOption.all.map(\.name)) func everyOptionOfRunIsOnItsPage(_ name: String) {
        #expect(Self.page("docs/reference/commands/run.md").contains("--\(name)"))
    }

    @Test(arguments: SiteConfiguration.names) func everySettingIsOnItsPage(_ name: String) {
        #expect(Self.page("docs/reference/configuration.md").contains("\n| `\(name)` |"))
    }

    /// Installed as /etc/berth/berth.conf. `BERTH_RECORD=1` writes it.
    @Test func theSampleConfigurationHasEverySetting() throws {
        let path = Self.root + "/docs/reference/berth.conf"
        if ProcessInfo.processInfo.environment["BERTH_RECORD"] == "1" {
            try Data(ConfigurationKey.sample.utf8).write(to: URL(fileURLWithPath: path))
        }
        let written = try String(contentsOfFile: path, encoding: .utf8)
        #expect(written == ConfigurationKey.sample, "run StructureTests with BERTH_RECORD=1 and read what it writes")
        // Unchanged, it configures nothing; with the comment signs removed, it is valid.
        var configuration = SiteConfiguration()
        try configuration.add(text: written, file: "berth.conf")
        #expect(configuration == SiteConfiguration())
        let lines = written.split(separator: "\n").filter { $0.hasPrefix("#") && !$0.hasPrefix("# ") }
        try configuration.add(text: lines.map { $0.dropFirst() + "\n" }.joined(), file: "berth.conf")
        #expect(Set(configuration.settings.map(\.name)) == Set(SiteConfiguration.names))
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
