internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox

/// `berth probe STORE [SCRATCH]`: tries what a launch does, in a process that ends with it, for `berth doctor`.
///
/// Here and not there, because security modules judge by the program: AppArmor's profile is the launcher's. Prints a
/// line for each step, its name and the errno or 0, and ends at the first that the others need.
enum ProbeCommand {
    static func carryOut(_ arguments: [String]) -> Never {
        let isRoot = Identity.isRoot
        // Before anything covers it.
        let filter = Result { () throws(SystemError) in try SeccompRecords.builtIn(.fakeroot) }
        // As the caller, before any namespace: a site's `scratch` holds a directory for each user.
        if arguments.count > 1 {
            attempt("scratch") { () throws(SystemError) in try ScratchDirectory.attempt(below: arguments[1]) }
        }
        let (user, group) = (Identity.userID, Identity.groupID)
        if !isRoot {
            step("user-namespace") { () throws(SystemError) in try Namespaces.create([.user]) }
            step("id-map") { () throws(SystemError) in
                try Namespaces.mapIDs(insideUser: user, outsideUser: user, insideGroup: group, outsideGroup: group)
            }
        }
        step("mount-namespace") { () throws(SystemError) in
            try Namespaces.create([.mount])
            try Mounts.setPropagationOfAll(.isSlave)
        }
        // In the new namespace, where alone overlayfs takes it, and before anything covers it.
        var store: DescriptorBox?
        if let path = arguments.first, let directory = try? OwnedFileDescriptor(opening: path, .path | .directory) {  // absent: not tried
            store = DescriptorBox(directory)
        }
        step("tmpfs") { () throws(SystemError) in
            try Mounts.mount(type: "tmpfs", over: OwnedFileDescriptor(opening: "/tmp", .path | .directory))
            let scratch = try OwnedFileDescriptor(opening: "/tmp", .path | .directory)
            for name in ["lower", "lower/gone", "upper", "work", "upper2", "work2", "here"] {
                try scratch.makeDirectory(name, mode: 0o755)
            }
            _ = try scratch.open("lower/gone/file", .writeOnly | .create | .exclusive)
        }
        // A launch's own options, as root too.
        let marks = ",userxattr"
        let here = try? OwnedFileDescriptor(opening: "/tmp/here", .path | .directory)  // just made
        guard let here else { Processes.exit(0) }
        let isMounted = attempt("overlay") { () throws(SystemError) in
            try Mounts.mount(
                type: "overlay", over: here, data: "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work" + marks)
        }
        if isMounted {
            // An upper directory that keeps no extended attributes cannot hide a directory of the image.
            attempt("overlay-removal") { () throws(SystemError) in
                try OwnedFileDescriptor(opening: "/tmp/here", .path | .directory).removeTree("gone")
            }
        }
        if let store {
            attempt("overlay-on-store") { () throws(SystemError) in
                try Mounts.mount(
                    type: "overlay", over: here,
                    data: "lowerdir=\(store.descriptor.procPath),upperdir=/tmp/upper2,workdir=/tmp/work2" + marks)
            }
        }
        // At last: the filter of `--root` holds for what follows.
        attempt("seccomp") { () throws(SystemError) in
            let filter = try filter.get()
            try Identity.forbidNewPrivileges()
            try Identity.load(filter: filter.instructions, flags: filter.flags)
        }
        Processes.exit(0)
    }

    private static func step(_ name: String, _ body: () throws(SystemError) -> Void) {
        if !attempt(name, body) { Processes.exit(0) }
    }

    @discardableResult
    private static func attempt(_ name: String, _ body: () throws(SystemError) -> Void) -> Bool {
        do throws(SystemError) {
            try body()
            Terminal.print(name + " 0\n")
            return true
        } catch {
            Terminal.print("\(name) \(error.errno)\n")
            return false
        }
    }
}
