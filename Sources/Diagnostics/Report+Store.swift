internal import LinuxKernel
package import Store

extension Report {
    /// - Parameter store: The store's path. The subjects of system errors are relative to it.
    package init(_ error: StoreError, store: String) {
        self.init(error)
        switch error {
        case .system(let cause):
            details.append("store \(store)")
            if cause.errno == Errno.ENOSPC { hint = Self.hint(for: cause, at: store) }
        case .readOnly(let path) where !path.hasPrefix("/"): details.append("store \(store)")
        default: break
        }
    }

    package init(_ error: StoreError) {
        switch error {
        case .system(let cause):
            self.init(
                "the image store failed: \(cause.call) \(cause.subject): \(cause.sentence)",
                hint: Self.storeHint(for: cause)
            )
        case .notAStore(let path):
            self.init(
                "\(path) is not an image store, and it is not empty",
                hint: "set BERTH_STORE or --store to an empty or missing directory")
        case .unknownLayout(let path, let found):
            self.init(
                "the store \(path) has the layout \"\(found)\", which this version of Berth does not know",
                hint:
                    "use the version that created it, or remove the directory and pull again, or set BERTH_STORE to "
                    + "another"
            )
        case .damaged(let path, let reason):
            self.init(
                "cannot use \(path) in the image store: \(reason)",
                hint: path.contains("/containers/")
                    ? "copy what you need from its upper directory; then remove it with `berth containers rm`"
                    : "pull the image again, which repairs it: berth pull IMAGE")
        case .busy(let path):
            self.init(
                "the image is busy: \(path) is locked by the owner of the store",
                hint: "wait until `berth prune` or `berth rmi` has finished there, and try again")
        case .inUse(let path):
            self.init(
                "cannot replace \(path) in the image store: it is damaged, and a running container uses it",
                hint: "end the container, and try again; `berth ps` lists the containers that run")
        case .source(let path, let cause):
            self.init(
                "cannot read the image \(path): \(cause.sentence)",
                hint:
                    "check the path; oci: takes a layout directory with an index.json, oci-archive: and "
                    + "docker-archive: a tar file"
            )
        case .untrusted(let path, let fault):
            var hint: String?
            if case .owner(let owner) = fault.reason {
                hint =
                    "choose another store with BERTH_STORE or --store; an administrator can trust this one with "
                    + "`shared-store = \(path) owner=\(owner)` in /etc/berth/berth.conf"
            }
            self.init(refusing: "store", path, fault, hint: hint)
        case .recordTooLarge(let bytes, let limit):
            self.init(
                "cannot store the image: its launch record takes \(bytes) bytes, more than the limit of \(limit)",
                hint: "build the image with fewer and shorter variables, arguments and layers")
        case .readOnly(let path):
            self.init(
                "cannot write to the store: \(path) is on a read-only file system",
                hint: "set BERTH_STORE to another directory")
        }
    }

    package static let overlayHint = "the store may be on overlayfs: name another directory with BERTH_STORE"

    private static func storeHint(for cause: SystemError) -> String? {
        switch cause.errno {
        // The kernel gives the owner of a file of overlayfs in a user namespace no other.
        case Errno.EINVAL where cause.call.hasPrefix("fchown"): overlayHint
        case Errno.EPERM, Errno.EACCES, Errno.ENOTDIR:
            "set BERTH_STORE or --store to a writable directory; the default is ~/.local/share/berth"
        default: hint(for: cause)
        }
    }
}
