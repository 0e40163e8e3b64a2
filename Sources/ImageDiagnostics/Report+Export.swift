package import Diagnostics
package import ImageExport
internal import LinuxKernel

extension Report {
    /// An image that could not be written; `image` and `destination` as they were given.
    package init(_ error: ExportError, image: String, destination: String) {
        switch error {
        case .store(let error): self.init(error)
        case .registry(let error): self.init(error)
        case .entry(let tree, let path, let fault): self.init(fault, tree: tree, path: path, of: image)
        case .destination(let path, let fault): self.init(fault, path: path)
        case .staging(let directory, let error):
            self.init(
                "cannot keep the layers of \(image) in \(directory) until they are sent: \(error.sentence)",
                hint: "name a directory with more room, on this node, with TMPDIR")
        case .documents(let what):
            self.init("\(what) cannot be read", hint: "remove the image with `berth rmi` and pull it again")
        case .compression(let code):
            self.init("the layers of \(image) cannot be packed: the library reports \(code)")
        case .system(let error): self.init(error)
        case .cancelled: self.init("interrupted: \(image) was not written to \(destination)")
        }
    }

    private init(_ fault: ExportError.EntryFault, tree: String, path: [UInt8], of image: String) {
        let place = path.isEmpty ? tree : "\(tree)/\(String(decoding: path, as: UTF8.self))"
        switch fault {
        case .system(let error):
            self.init(
                "cannot read \(place): \(error.sentence)",
                hint: error.errno == Errno.EACCES || error.errno == Errno.EPERM
                    ? "files of others, and without user namespaces those of mode 000, cannot be exported" : nil)
        case .whiteoutName:
            self.init(
                "\(place) cannot be in an image: in a layer, names that begin with .wh. remove other files",
                hint: "rename the file")
        case .overlayReference(let name):
            self.init(
                "\(place) is only a part of a file or directory: overlayfs keeps the rest elsewhere (\(name))",
                hint: "mount the overlay with redirect_dir=off,metacopy=off, as Berth does")
        case .changed:
            self.init(
                "\(place) changed while it was read",
                hint: "end what writes there first; an image is of one moment")
        case .tooDeep(let limit): self.init("\(place) lies more than \(limit) directories deep")
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
                    : error.errno == Errno.ENOENT ? "make its directory first" : nil)
        case .exists:
            self.init("\(path) exists, and nothing is replaced", hint: "remove it, or choose another name")
        case .notALayout:
            self.init(
                "\(path) is a directory with other things in it, and no OCI layout",
                hint: "choose another directory; one that does not exist is made")
        case .damagedIndex(let name):
            self.init(
                "the \(name) of \(path) cannot be read, so no image is added to it", hint: "choose another directory")
        }
    }
}
