internal import ArgumentParser
internal import DeviceSpecifications
internal import Devices
internal import Diagnostics
internal import ImageDiagnostics
internal import LinuxKernel
internal import SiteConfig

/// `berth cdi`
struct CDICommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cdi",
        abstract: "List the CDI devices of this host, and errors in their specifications.",
        usage: "berth cdi [--directory DIRECTORY]...",
        discussion: """
            Examples:
              berth cdi
              berth run --device nvidia.com/gpu=0 IMAGE -- nvidia-smi
            """)

    @Option(
        help: ArgumentHelp(
            "Read this directory instead of the configured ones; later ones win.", valueName: "directory"),
        completion: .directory)
    var directory: [String] = []

    @Flag(help: ArgumentHelp("Write the record that the launcher reads.", visibility: .hidden))
    var record = false

    func run() throws {
        let files = SpecificationFiles(in: try directories())
        let registry = SpecificationCompiler.compile(files, describe: \.text)
        if record {
            registry.encoded(key: files.key).withUnsafeBytes { Printed.bytes($0) }
            return
        }
        var rows: [[String]] = []
        for specification in registry.specifications {
            for device in specification.devices {
                let name = specification.kind + "=" + device.name
                rows.append([
                    name, "\(specification.path):\(device.line)\(Self.remark(name, specification, registry))",
                ])
            }
        }
        if rows.isEmpty, registry.refused.isEmpty {
            Output.note(line: "no CDI devices are specified in \(try directories().joined(separator: " or "))")
        }
        for line in TextTable.lines(rows) { Printed.line(line) }
        guard registry.refused.isEmpty else {
            throw Failure(
                Report(
                    "\(registry.refused.count == 1 ? "a CDI specification is" : "\(registry.refused.count) CDI specifications are") not read",
                    details: registry.refused.map { "\($0.path)\($0.line > 0 ? ":\($0.line)" : ""): \($0.reason)" },
                    hint: "the others hold; NVIDIA's are made with `nvidia-ctk cdi generate`"))
        }
    }

    private func directories() throws -> [String] {
        if !directory.isEmpty { return directory }
        let configured = try Settings().configuration.cdiDirectories
        return configured.isEmpty ? SpecificationFiles.directories : configured
    }

    private static func remark(
        _ name: String, _ specification: DeviceRegistry.Specification, _ registry: DeviceRegistry
    ) -> String {
        guard let parsed = try? QualifiedName(parsing: name) else { return "" }  // checked when it was read
        do throws(DeviceError) {
            let found = try registry.device(parsed)
            return found.specification.path == specification.path ? "" : "  (hidden by \(found.specification.path))"
        } catch {
            return "  (in conflict: another file defines it too)"
        }
    }
}
