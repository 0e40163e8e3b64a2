package import Distribution
package import LinuxKernel
package import Store

/// Why an export failed. Contains no message; `ImageDiagnostics` makes the text.
package enum ExportError: Error, Equatable, Sendable {
    case store(StoreError)
    case registry(RegistryError)
    /// A file that a layer cannot contain. The path is relative to the tree.
    case entry(tree: String, path: [UInt8], EntryFault)
    case destination(String, DestinationFault)
    /// The directory for blobs before the upload.
    case staging(directory: String, SystemError)
    /// The image's own documents are invalid.
    case documents(String)
    /// The compression library returned this error code.
    case compression(code: Int)
    /// Failed to create a thread or a random name.
    case system(SystemError)
    case cancelled

    package enum EntryFault: Equatable, Sendable {
        case system(SystemError)
        /// Its name starts with `.wh.`, which in a layer removes another file.
        case whiteoutName
        /// overlayfs stores the content elsewhere: `redirect`, `metacopy`.
        case overlayReference(String)
        /// It was truncated or replaced during the export.
        case changed
        case tooDeep(limit: Int)
    }

    package enum DestinationFault: Equatable, Sendable {
        case system(SystemError)
        case exists
        /// A directory with other files.
        case notALayout
        case damagedIndex(String)
    }
}

/// Wraps an error of another module.
func mapError<Value: ~Copyable, Cause: Error>(
    to make: (Cause) -> ExportError, _ body: () throws(Cause) -> Value
) throws(ExportError) -> Value {
    do throws(Cause) { return try body() } catch { throw make(error) }
}
