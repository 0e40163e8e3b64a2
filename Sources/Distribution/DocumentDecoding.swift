internal import FoundationEssentials
package import ImageSpec

/// Decodes all documents of images. First rejects content that parsers interpret differently.
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
