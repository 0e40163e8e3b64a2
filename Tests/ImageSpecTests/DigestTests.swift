import ImageSpec
import Testing

@Suite struct DigestTests {
    static let zeros = String(repeating: "0", count: 64)

    @Test func parsesWhatItPrints() throws {
        for text in ["sha256:" + Self.zeros, "sha512:" + String(repeating: "9f", count: 64)] {
            #expect(try Digest(parsing: text).description == text)
        }
    }

    @Test(
        arguments: [
            ("", .noAlgorithm),
            ("sha256", .noAlgorithm),
            (":\(zeros)", .noAlgorithm),
            ("SHA256:\(zeros)", .noAlgorithm),
            ("sha256+:\(zeros)", .noAlgorithm),
            ("../sha256:\(zeros)", .noAlgorithm),
            ("blake3:\(zeros)", .unsupportedAlgorithm("blake3")),
            ("multihash+base58:Qm", .unsupportedAlgorithm("multihash+base58")),
            ("sha256:", .wrongLength(expected: 64, found: 0)),
            ("sha256:\(zeros)0", .wrongLength(expected: 64, found: 65)),
            ("sha512:\(zeros)", .wrongLength(expected: 128, found: 64)),
            ("sha256:\(zeros.dropLast())A", .notLowercaseHex),
            ("sha256:../../../etc/passwd", .notLowercaseHex),
            ("sha256:\(zeros):\(zeros)", .notLowercaseHex),
        ] as [(String, DigestError.Reason)])
    func refuses(text: String, reason: DigestError.Reason) {
        #expect(throws: DigestError(text: text, reason: reason)) { try Digest(parsing: text) }
    }

    @Test func takesTheBytesOfAHash() {
        let digest = Digest(.sha256, bytes: [UInt8](repeating: 0xa5, count: 32))
        #expect(digest?.hex == String(repeating: "a5", count: 32))
        #expect(Digest(.sha512, bytes: [UInt8](repeating: 0, count: 32)) == nil)
    }
}
