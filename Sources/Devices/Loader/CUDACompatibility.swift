internal import LinuxKernel

/// CUDA forward compatibility: libraries of a newer driver in the image that work on an older driver of the host.
/// https://docs.nvidia.com/deploy/cuda-compatibility/
package struct CUDACompatibility: Equatable, Sendable {
    /// The image's directory of these libraries, usually `/usr/local/cuda/compat`.
    package let directory: String
    package let hostDriverVersion: String
    package let hostCUDAVersion: String

    package static let defaultDirectory = "/usr/local/cuda/compat"

    package init(
        directory: String = CUDACompatibility.defaultDirectory, hostDriverVersion: String, hostCUDAVersion: String = ""
    ) {
        self.directory = directory
        self.hostDriverVersion = hostDriverVersion
        self.hostCUDAVersion = hostCUDAVersion
    }

    /// The ELF section of the compatibility library that lists the supported drivers.
    package static let section = ".note.cuda.fwd_compatibility"
    package static let owner = "NVIDIA Corporation"

    /// - Parameters:
    ///   - version: The version of the image's library, from its name after `libcuda.so.`.
    ///   - note: The note's description, a flat JSON object; `nil` if the library has none.
    package func isUsable(version: String, note: [UInt8]?) -> Bool {
        let library = Self.numbers(version)
        let host = Self.numbers(hostDriverVersion)
        if let note, let facts = Self.facts(note) {
            guard let library, let host else {
                guard let cuda = Self.numbers(facts.cudaVersion), let own = Self.numbers(hostCUDAVersion) else {
                    return false
                }
                return own.lexicographicallyPrecedes(cuda)
            }
            return facts.drivers.contains(host[0]) && host.lexicographicallyPrecedes(library)
        }
        // The library predates the note: use it if its major version is newer than the host's driver.
        guard hostCUDAVersion.isEmpty, let library, let host else { return false }
        return host[0] < library[0]
    }

    /// Parses `550.54.15` into its numbers, at least one.
    static func numbers(_ version: String) -> [Int]? {
        let parts = version.split(separator: ".", omittingEmptySubsequences: false).map { Int($0) }
        guard let numbers = parts as? [Int], !numbers.isEmpty else { return nil }
        return numbers
    }

    /// Extracts `"Driver":[535,550]` and `"CUDA Version":"12.4"` from the note. The launcher has no JSON parser, and
    /// the image controls the input.
    static func facts(_ note: [UInt8]) -> (drivers: [Int], cudaVersion: String)? {
        guard let drivers = value(of: "\"Driver\"", in: note), drivers.first == UInt8(ascii: "["),
            let end = drivers.firstIndex(of: UInt8(ascii: "]"))
        else { return nil }
        var numbers: [Int] = []
        for part in drivers[(drivers.startIndex + 1)..<end].split(separator: UInt8(ascii: ",")) {
            let text = String(decoding: part.filter { $0 > 0x20 }, as: UTF8.self)
            guard let number = Int(text) else { return nil }
            numbers.append(number)
        }
        var cuda = ""
        if let text = value(of: "\"CUDA Version\"", in: note), text.first == UInt8(ascii: "\"") {
            cuda = String(decoding: text.dropFirst().prefix { $0 != UInt8(ascii: "\"") }, as: UTF8.self)
        }
        return (numbers, cuda)
    }

    private static func value(of key: String, in note: [UInt8]) -> ArraySlice<UInt8>? {
        let wanted = Array(key.utf8)
        guard note.count > wanted.count else { return nil }
        for start in 0...(note.count - wanted.count) where note[start..<start + wanted.count].elementsEqual(wanted) {
            var rest = note[(start + wanted.count)...].drop { $0 <= 0x20 }
            guard rest.popFirst() == UInt8(ascii: ":") else { continue }
            return rest.drop { $0 <= 0x20 }
        }
        return nil
    }
}
