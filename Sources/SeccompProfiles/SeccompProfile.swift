internal import FoundationEssentials
internal import ImageSpec
internal import LinuxKernel

/// A seccomp profile as Docker and Podman write them, or `linux.seccomp` of the OCI runtime-spec, which is the same
/// without conditions.
/// https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#seccomp
package struct SeccompProfile: Decodable, Sendable {
    let defaultAction: String
    let defaultErrnoRet: UInt16?
    let architectures: [String]?
    let archMap: [Architectures]?
    let flags: [String]?
    let listenerPath: String?
    let syscalls: [Rule]?

    struct Architectures: Decodable, Sendable {
        let architecture: String
        let subArchitectures: [String]?
    }

    struct Rule: Decodable, Sendable {
        /// Older profiles have one name.
        let name: String?
        let names: [String]?
        let action: String
        let errnoRet: UInt16?
        let args: [Argument]?
        let includes: Condition?
        let excludes: Condition?
    }

    struct Argument: Codable, Sendable {
        let index: UInt32
        let value: UInt64
        let valueTwo: UInt64?
        let op: String
    }

    struct Condition: Decodable, Sendable {
        let caps: [String]?
        let arches: [String]?
        let minKernel: String?
    }

    /// - Parameter bytes: A JSON document without repeated keys, which readers understand differently.
    package init(_ bytes: [UInt8]) throws(SeccompProfileError) {
        let checked: [UInt8]
        do throws(DocumentFault) { checked = try DocumentScanner.check(bytes, as: Self.shape) } catch {
            throw .notReadable(String(describing: error))
        }
        do { self = try JSONDecoder().decode(Self.self, from: Data(checked)) } catch let error as DecodingError {
            throw .notReadable(Self.place(error))
        } catch {
            throw .notReadable("\(error)")
        }
    }

    /// Docker and Podman read it with Go's encoding/json, which ignores the case of keys.
    private static let shape: DocumentShape = {
        let condition = DocumentShape.object(["caps": .any, "arches": .any, "minKernel": .any])
        return .object([
            "defaultAction": .any, "defaultErrnoRet": .any, "defaultErrno": .any, "architectures": .any,
            "archMap": .list(.object(["architecture": .any, "subArchitectures": .any])), "flags": .any,
            "listenerPath": .any, "listenerMetadata": .any,
            "syscalls": .list(
                .object([
                    "name": .any, "names": .any, "action": .any, "errnoRet": .any, "errno": .any, "comment": .any,
                    "args": .list(.object(["index": .any, "value": .any, "valueTwo": .any, "op": .any])),
                    "includes": condition, "excludes": condition,
                ])),
        ])
    }()

    private static func place(_ error: DecodingError) -> String {
        switch error {
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .keyNotFound(_, let context),
            .dataCorrupted(let context):
            let path = context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? "." + $0.stringValue }.joined()
            return path.isEmpty ? context.debugDescription : "\(path.dropFirst()): \(context.debugDescription)"
        @unknown default: return "\(error)"
        }
    }
}

/// Why a profile cannot be compiled.
package enum SeccompProfileError: Error, Equatable, Sendable {
    /// Not JSON, or another shape than a profile's.
    case notReadable(String)
    case unknownWord(field: String, String)
    /// An action for which a supervisor of the process would have to run.
    case needsSupervisor(String)
    case bothArchitectures
    case badArgument(syscall: String, String)
    /// libseccomp refused it: an error number.
    case refused(what: String, errno: Int32)
    /// More instructions than the kernel takes.
    case tooLarge(instructions: Int)
}
