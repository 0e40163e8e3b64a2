package import LaunchPlanning
package import LinuxKernel

/// What went wrong while the plan was carried out.
package enum SandboxError: Error, Sendable {
    /// A step of the plan, counted from 1.
    case step(index: Int, count: Int, PlannedStep, StepFailure)
    /// Something about the process itself, after the file system stood.
    case process(ProcessStage, SystemError)
    /// `USER` of the image names nobody.
    case unknownUser(String)
    /// The command could not become this process.
    case command(String, CommandFailure)
}

package enum StepFailure: Error, Equatable, Sendable {
    case system(SystemError)
    /// The host has no such source.
    case sourceMissing(String)
    case sourceUnreadable(String, SystemError)
    /// A target inside that climbs out of the rootfs.
    case leavesRoot(path: String, link: String?)
    /// A target inside that is missing and can not be made in a read-only rootfs.
    case targetMissing(String)
    /// A target inside that is the root itself.
    case coversRoot(String)
    /// Too many links on the way.
    case tooManyLinks(String)
    /// A directory was to be covered by a file or the other way round.
    case kindsDiffer(source: String, target: String)
    case notADirectory(String)
    /// Neither a device node nor a directory of some.
    case notADevice(String)
    case hookFailed(String, status: Int32)
    /// A hook did not end in its time.
    case hookLate(String)
}

package enum ProcessStage: String, Sendable {
    case limits, capabilities, identity, workingDirectory, join
}

package enum CommandFailure: Error, Equatable, Sendable {
    /// Looked for in these directories, or `nil` where the command is a path.
    case notFound(searched: [String]?)
    case notExecutable(path: String, SystemError)
    /// The file is there, but what it names as interpreter or loader is not.
    case interpreterMissing(path: String, interpreter: String)
    /// An ELF file for another architecture.
    case wrongArchitecture(path: String, machine: UInt16)
    /// Neither ELF nor `#!`.
    case unknownFormat(path: String)
    case isDirectory(path: String)
}
