internal import LinuxKernel

/// What a device cgroup refuses here, of the kinds of nodes that schedulers grant. Nothing is opened.
package enum DeviceConstraint {
    /// Sorted; empty where nothing is refused, or nothing is there.
    package static func refused() -> [String] { grantable().filter(OwnedFileDescriptor.isRefusedByCgroup) }

    /// GPUs, their partitions and channels, and fabrics.
    package static func grantable() -> [String] {
        var paths: [String] = []
        for name in names("/dev") {
            if isNumbered(name, "nvidia") || isNumbered(name, "cxi") || name == "kfd" { paths.append("/dev/" + name) }
        }
        for (directory, prefix) in [
            ("/dev/dri", "renderD"), ("/dev/infiniband", "uverbs"), ("/dev/nvidia-caps", "nvidia-cap"),
            ("/dev/nvidia-caps-imex-channels", "channel"),
        ] {
            paths += names(directory).filter { isNumbered($0, prefix) }.map { directory + "/" + $0 }
        }
        return paths
    }

    private static func isNumbered(_ name: String, _ prefix: String) -> Bool {
        name.hasPrefix(prefix) && Int(name.dropFirst(prefix.utf8.count)) != nil
    }

    private static func names(_ path: String) -> [String] {
        guard let directory = try? OwnedFileDescriptor(opening: path, .readOnly | .directory),  // absent: none of these
            let names = try? directory.entries()  // see above
        else { return [] }
        return names.map(\.displayPath).sorted()
    }
}
