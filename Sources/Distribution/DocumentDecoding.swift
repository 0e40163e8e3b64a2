internal import FoundationEssentials
package import ImageSpec

/// The one way by which an image's documents are decoded: checked first for what readers disagree about.
package enum Documents {
    package static func decode<Value: Decodable>(
        _ type: Value.Type, from bytes: [UInt8], as shape: DocumentShape
    ) throws(DocumentFault) -> Value {
        let bytes = try DocumentScanner.check(bytes, as: shape)
        do { return try JSONDecoder().decode(type, from: Data(bytes)) } catch {
            throw DocumentFault(.wrongContent(error.whatWasWrong))
        }
    }
}
