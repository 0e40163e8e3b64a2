internal import LinuxKernel
package import Store

extension Report {
    /// - Parameter store: The store's path, for what the disk refused: calls name places in it by what leads there.
    package init(_ error: StoreError, store: String) {
        self.init(error)
        switch error {
        case .system: details.append("store \(store)")
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
                "\(path) holds files, but is no image store",
                hint: "name an empty or absent directory with BERTH_STORE or --store")
        case .unknownLayout(let path, let found):
            self.init(
                "the store \(path) has the layout \"\(found)\", which this version of Berth does not know",
                hint:
                    "use the version that made it, or remove the directory and pull anew, or name another with BERTH_STORE"
            )
        case .damaged(let path, let reason):
            self.init("\(path) is damaged: \(reason)", hint: "pull the image again: berth pull IMAGE")
        case .source(let path, let cause):
            self.init(
                "cannot read the image \(path): \(cause.sentence)",
                hint:
                    "check the path; oci: takes a layout directory with an index.json, oci-archive: and docker-archive: a tar file"
            )
        case .untrusted(let path, let owner, let permissions):
            self.init(
                "the store \(path) is not to be trusted: "
                    + (permissions & 0o022 == 0
                        ? "it belongs to user \(owner)"
                        : "others may write to it (mode \(String(permissions, radix: 8)))"),
                hint: permissions & 0o022 == 0
                    ? "a store must be yours or root's; where the site vouches for user \(owner), it writes "
                        + "shared-store = \(path) owner=\(owner) into berth.conf"
                    : "take the right to write from group and others: chmod go-w \(path)")
        case .readOnly(let path):
            self.init(
                "the store can not be written to: \(path) is on a read-only file system",
                hint: "choose another with BERTH_STORE")
        }
    }

    private static func storeHint(for cause: SystemError) -> String? {
        switch cause.errno {
        case 1, 13, 20:  // EPERM, EACCES, ENOTDIR
            "name a directory that you can write to with BERTH_STORE or --store; by default it is ~/.local/share/berth"
        default: hint(for: cause)
        }
    }
}
