package import LaunchPlanning
internal import LinuxKernel

/// One result of `berth doctor`: its severity, the reason and the remedy.
package struct Finding: Equatable, Sendable {
    package enum Severity: Int, Comparable, Sendable, CaseIterable {
        /// It works, or it is absent and not needed.
        case ok
        /// Something is slow, missing or may surprise.
        case warning
        /// Containers or a feature that they need here will fail.
        case error

        package static func < (one: Severity, other: Severity) -> Bool { one.rawValue < other.rawValue }

        package var word: String {
            switch self {
            case .ok: "ok"
            case .warning: "warning"
            case .error: "error"
            }
        }
    }

    package let area: String
    package let check: String
    package let severity: Severity
    package let what: String
    package let remedy: String?

    package init(_ area: String, _ check: String, _ severity: Severity, _ what: String, remedy: String? = nil) {
        self.area = area
        self.check = check
        self.severity = severity
        self.what = what
        self.remedy = remedy
    }
}

/// All results in the order of the areas.
package struct Diagnosis: Equatable, Sendable {
    package let findings: [Finding]
    package init(_ findings: [Finding]) { self.findings = findings }

    package var severity: Finding.Severity { findings.map(\.severity).max() ?? .ok }

    /// 0, 1 for warnings, 2 for errors.
    package var exitStatus: Int32 { Int32(severity.rawValue) }

    /// The text for people: a line for each result, and the remedy below it.
    package var table: String {
        var lines: [String] = []
        var area = ""
        let width = findings.map(\.check.utf8.count).max() ?? 0
        for finding in findings {
            if finding.area != area {
                area = finding.area
                lines.append((lines.isEmpty ? "" : "\n") + area)
            }
            let pad = String(repeating: " ", count: width - finding.check.utf8.count)
            let word = finding.severity.word
            let gap = String(repeating: " ", count: 7 - word.utf8.count)
            // Names of files, devices and layouts may contain control characters.
            lines.append(TerminalText.line("  \(word)\(gap)  \(finding.check)\(pad)  \(finding.what)"))
            if let remedy = finding.remedy {
                lines.append(String(repeating: " ", count: width + 13) + "-> " + TerminalText.line(remedy))
            }
        }
        let counts = Finding.Severity.allCases.map { severity in
            (severity, findings.count { $0.severity == severity })
        }
        // "ok" has no plural.
        let summary = counts.map { "\($0.1) \($0.0.word)\($0.0 == .ok || $0.1 == 1 ? "" : "s")" }.joined(separator: ", ")
        return lines.joined(separator: "\n") + "\n\n\(summary)\n"
    }

    /// The machine-readable form.
    package var json: JSON {
        .members(
            ("status", .string(severity.word)),
            (
                "checks",
                .array(
                    findings.map { finding in
                        .members(
                            ("area", .string(finding.area)), ("check", .string(finding.check)),
                            ("status", .string(finding.severity.word)), ("what", .string(finding.what)),
                            ("remedy", finding.remedy.map { .string($0) }))
                    })
            ))
    }
}
