internal import LinuxKernel

/// The variables for user and job in `store`, `scratch`, `mount` and `record-directory`: `%u`, `%U`, `%h`,
/// `$SLURM_JOB_ID`.
///
/// Others are not allowed, because their values could differ between tasks that share a container.
package struct PathVariables {
    let environment: (String) -> String?
    /// The fields of the caller's passwd(5) entry.
    let account: [String]?

    package static let names = [
        "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_CLUSTER_NAME", "SLURM_JOB_ACCOUNT", "SLURM_JOB_ID",
        "SLURM_JOB_PARTITION", "SLURMD_NODENAME", "TMPDIR",
    ]
    static let settings = ["mount", "record-directory", "scratch", "store"]
    static let form = "paths with %u, %U, %h, %% or " + names.map { "$" + $0 }.joined(separator: ", ")

    enum Fault: Error, Equatable {
        case unknown(String)
        /// The variable is unset, or its value cannot be part of a path.
        case unset(String)
    }

    /// - Parameter variables: `nil` replaces each variable by a path with its name, which suffices to check a line's
    ///   syntax.
    static func expand(_ text: String, with variables: PathVariables?) throws(Fault) -> String {
        let (percent, dollar) = (UInt8(ascii: "%"), UInt8(ascii: "$"))
        var rest = text.kernelBytes[...]
        guard rest.contains(percent) || rest.contains(dollar) else { return text }
        var result: [UInt8] = []
        while let byte = rest.popFirst() {
            if byte == percent, let next = rest.first, next == percent || isOfName(next), !isDigit(next) {
                rest.removeFirst()
                if next == percent {
                    result.append(percent)
                } else {
                    result += try value("%" + String(decoding: [next], as: UTF8.self), variables)
                }
            } else if byte == dollar {
                let name = rest.prefix(while: isOfName)
                rest = rest.dropFirst(name.count)
                result += try value("$" + String(decoding: name, as: UTF8.self), variables)
            } else {
                result.append(byte)
            }
        }
        return RawText.string(result[...])
    }

    private static func value(_ word: String, _ variables: PathVariables?) throws(Fault) -> [UInt8] {
        let isPath = word == "%h" || word == "$TMPDIR"
        guard ["%u", "%U", "%h"].contains(word) || names.contains(where: { "$" + $0 == word }) else {
            throw .unknown(word)
        }
        guard let variables else { return (isPath ? "/" + word : word).kernelBytes }
        let value: String? =
            switch word {
            case "%u": variables.account?.first
            case "%U": "\(Identity.outerUserID)"
            case "%h": variables.account?.homeDirectory ?? variables.environment("HOME")
            default: variables.environment(String(word.utf8.dropFirst()) ?? "")
            }
        guard let bytes = value?.kernelBytes, isPath ? bytes.first == UInt8(ascii: "/") : isComponent(bytes) else {
            throw .unset(word)
        }
        return escaped(bytes)
    }

    private static func isComponent(_ bytes: [UInt8]) -> Bool {
        !bytes.isEmpty && !bytes.contains(UInt8(ascii: "/")) && bytes != [0x2E] && bytes != [0x2E, 0x2E]
    }

    /// Escapes the value for the parser that reads the line next: `\040` is a blank in a word.
    private static func escaped(_ bytes: [UInt8]) -> [UInt8] {
        bytes.flatMap { byte -> [UInt8] in
            guard byte <= 0x20 || byte == UInt8(ascii: "\\") else { return [byte] }
            return [UInt8(ascii: "\\"), 0x30 + (byte >> 6), 0x30 + (byte >> 3 & 7), 0x30 + (byte & 7)]
        }
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    private static func isOfName(_ byte: UInt8) -> Bool {
        isDigit(byte) || (0x61...0x7A).contains(byte | 0x20) || byte == UInt8(ascii: "_")
    }
}
