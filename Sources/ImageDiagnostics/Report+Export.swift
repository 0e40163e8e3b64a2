package import Diagnostics
package import ImageExport
internal import LinuxKernel

extension Report {
    /// An image that could not be written. `image` and `destination` are in the user's spelling.
    package init(_ error: ExportError, image: String, destination: String) {
        switch error {
        case .store(let error): self.init(error)
        case .registry(let error): self.init(error)
        case .entry(let tree, let path, let fault): self.init(fault, tree: tree, path: path, of: image)
        case .destination(let path, let fault): self.init(fault, path: path)
        case .staging(let directory, let error):
            self.init(
                "cannot store the layers of \(image) in \(directory) before the upload: \(error.sentence)",
                hint: "set TMPDIR to a local directory with more space")
        case .documents(let what):
            self.init("\(what) cannot be read", hint: "remove the image with `berth rmi` and pull it again")
        case .compression(let code):
            self.init("cannot compress the layers of \(image): the library reports \(code)")
        case .system(let error): self.init(error)
        case .cancelled: self.init("interrupted: \(image) was not written to \(destination)")
        }
    }

    private init(_ fault: ExportError.EntryFault, tree: String, path: [UInt8], of image: String) {
        let place = path.isEmpty ? (tree.isEmpty ? "/" : tree) : "\(tree)/\(String(decoding: path, as: UTF8.self))"
        switch fault {
        case .system(let error):
            self.init(
                "cannot read \(place): \(error.sentence)",
                hint: error.errno == Errno.EACCES || error.errno == Errno.EPERM
                    ? "files of other users cannot be exported, nor files of mode 000 without user namespaces"
                    : error.isAbsence && path.isEmpty ? "check the path" : nil)
        case .whiteoutName:
            self.init(
                "cannot export \(place): in a layer, a name that starts with .wh. removes another file",
                hint: "rename the file")
        case .overlayReference(let name):
            self.init(
                "cannot export \(place): overlayfs stores a part of it elsewhere (\(name))",
                hint: "mount the overlay with redirect_dir=off,metacopy=off, as Berth does")
        case .changed:
            self.init(
                "\(place) changed while it was read",
                hint: "first stop the processes that write to it")
        case .tooDeep(let limit): self.init("cannot export \(place): it is more than \(limit) directories deep")
        }
        details.append("while exporting \(image)")
    }

    private init(_ fault: ExportError.DestinationFault, path: String) {
        switch fault {
        case .system(let error):
            self.init(
                "cannot write \(path): \(error.sentence)",
                hint: [Errno.ENOSPC, Errno.EDQUOT].contains(error.errno)
                    ? "free space, or choose another place"
                    : error.errno == Errno.ENOENT
                        ? "create its directory first"
                        : [Errno.EACCES, Errno.EPERM, Errno.EROFS].contains(error.errno)
                            ? "choose a directory that you can write to" : nil)
        case .exists:
            self.init("\(path) already exists", hint: "remove it, or choose another name")
        case .notALayout:
            self.init(
                "\(path) is a directory with other files, not an OCI layout",
                hint: "choose another directory; a missing one is created")
        case .damagedIndex(let name):
            self.init(
                "cannot add an image to \(path): its \(name) is unreadable", hint: "choose another directory")
        }
    }
}
