package import Devices
internal import LinuxKernel

/// Compiles all specifications of the CDI directories to one registry.
package enum SpecificationCompiler {
    /// - Parameter describe: The message for a rejected file. The other files are used in any case.
    package static func compile(
        _ files: SpecificationFiles, describe: (SpecificationError) -> String
    ) -> DeviceRegistry {
        var registry = DeviceRegistry()
        for file in files.files {
            do throws(SpecificationError) {
                if let fault = SpecificationFiles.fault(of: file) { throw SpecificationError(0, .untrusted(fault)) }
                if let errno = file.fault { throw SpecificationError(0, .unreadable(errno: errno)) }
                registry.specifications.append(
                    try SpecificationParser.parse(try text(file.path), path: file.path, priority: file.priority))
            } catch {
                registry.refused.append(
                    DeviceRegistry.Refused(path: file.path, line: error.line, reason: describe(error)))
            }
        }
        return registry
    }

    private static func text(_ path: String) throws(SpecificationError) -> String {
        do throws(SystemError) { return String(decoding: try contents(of: path), as: UTF8.self) } catch {
            throw SpecificationError(0, .unreadable(errno: error.errno))
        }
    }
}
