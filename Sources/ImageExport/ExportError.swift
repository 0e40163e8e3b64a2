package import Distribution
package import LinuxKernel
package import Store

/// Why an image was not written out. Facts only; `ImageDiagnostics` makes the text.
package enum ExportError: Error, Equatable, Sendable {
    case store(StoreError)
    case registry(RegistryError)
    /// Something of a tree can not go into a layer; the path is relative to the tree.
    case entry(tree: String, path: [UInt8], EntryFault)
    case destination(String, DestinationFault)
    /// Where blobs are kept until they are sent.
    case staging(directory: String, SystemError)
    /// The image's own documents do not read as such.
    case documents(String)
    /// The library that packs reports this code.
    case compression(code: Int)
    /// A thread or a random name that could not be had.
    case system(SystemError)
    case cancelled

    package enum EntryFault: Equatable, Sendable {
        case system(SystemError)
        /// Its name begins with `.wh.`, which in a layer would remove another file.
        case whiteoutName
        /// overlayfs keeps its content elsewhere: `redirect`, `metacopy`.
        case overlayReference(String)
        /// It became shorter, or something else, while it was read.
        case changed
        case tooDeep(limit: Int)
    }

    package enum DestinationFault: Equatable, Sendable {
        case system(SystemError)
        case exists
        /// A directory that holds other things.
        case notALayout
        case damagedIndex(String)
    }
}

/// Names an error of another layer.
func naming<Value: ~Copyable, Cause: Error>(
    _ name: (Cause) -> ExportError, _ body: () throws(Cause) -> Value
) throws(ExportError) -> Value {
    do throws(Cause) { return try body() } catch { throw name(error) }
}
