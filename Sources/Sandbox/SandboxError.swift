package import LaunchPlanning
package import LinuxKernel

/// What went wrong while the plan was carried out.
package enum SandboxError: Error, Sendable {
    /// A step of the plan, counted from 1.
    case step(index: Int, count: Int, PlannedStep, StepFailure)
    /// Something about the process itself, after the file system stood.
    case process(ProcessStage, SystemError)
    /// `USER` of the image, or `--user`, stands for no ids.
    case account(AccountError)
    /// The image's /etc/passwd or /etc/group cannot be read to look this user up.
    case accountFiles(String, StepFailure)
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
    /// A target below a volume in which it does not exist and cannot be made.
    case targetMissingInVolume(String, source: String, volume: String, SystemError?)
    /// A target inside that is the root itself.
    case coversRoot(String)
    /// Something would have to be made in what is mounted there.
    case belowMount(String)
    /// The same for a mount point that was asked for, in a mount that is read-only.
    case readOnlyMount(String)
    /// More than overlayfs joins.
    case tooManyLayers(Int)
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
    /// A file of the image that is read whole, above this many bytes.
    case fileTooLarge(String, limit: Int)
}

/// What a launch does without and tells of.
package enum SandboxNote: Equatable, Sendable {
    /// The image has no place for the user's home.
    case noHome(String)
    /// The image's working directory lies below /tmp, where the host has none of that name.
    case workingDirectoryCovered(String)
}

package enum ProcessStage: String, Sendable {
    case limits, capabilities, identity, workingDirectory, join, seccomp
}

package enum CommandFailure: Error, Equatable, Sendable {
    /// Looked for in these directories, or `nil` where the command is a path.
    case notFound(searched: [String]?)
    case notExecutable(path: String, SystemError)
    /// The file is there, but what it names as interpreter or loader is not.
    case interpreterMissing(path: String, interpreter: String)
    /// The first line of a script ends in a carriage return.
    case carriageReturn(path: String, interpreter: String)
    /// E2BIG: more bytes than execve(2) takes in all, or one variable or argument above 128 KiB.
    case tooLarge(path: String, bytes: Int, longest: String, longestBytes: Int)
    /// An ELF file for another architecture.
    case wrongArchitecture(path: String, machine: UInt16)
    /// Neither ELF nor `#!`.
    case unknownFormat(path: String)
    case isDirectory(path: String)
}
