import Foundation
import ImageSpec
import Testing

/// Rejects documents that readers interpret differently, and accepts those of old builders.
@Suite struct DocumentScannerTests {
    static func reason(_ text: String, _ shape: DocumentShape = .config) -> DocumentFault.Reason? {
        reason(Array(text.utf8), shape)
    }

    static func reason(_ bytes: [UInt8], _ shape: DocumentShape = .config) -> DocumentFault.Reason? {
        do throws(DocumentFault) {
            _ = try DocumentScanner.check(bytes, as: shape)
            return nil
        } catch {
            return error.reason
        }
    }

    static func repaired(_ bytes: [UInt8]) throws -> String {
        String(decoding: try DocumentScanner.check(bytes, as: .any), as: UTF8.self)
    }

    @Test(arguments: [
        (#"{"layers":[],"layers":[1]}"#, "layers"), (#"{"layers":[],"\u006cayers":[1]}"#, "layers"),
        (#"{"config":{"size":1,"size":2}}"#, "size"), (#"{"layers":[{"digest":"a","x":{"y":1,"y":2}}]}"#, "y"),
        (#"{"annotations":{"a":"1","a":"2"}}"#, "a"), (#"{"unknown":[{"a":1,"\u0061":1}]}"#, "a"),
        (#"{"":1,"":2}"#, ""), (#"{"\ud83d\ude00":1,"😀":2}"#, "😀"),
    ])
    func aRepeatedKeyIsRefusedByName(_ text: String, _ key: String) {
        #expect(Self.reason(text, .manifest) == .repeatedKey(key))
    }

    @Test(arguments: [
        (#"{"layers":[],"Layers":[]}"#, "Layers", "layers"), (#"{"LAYERS":[]}"#, "LAYERS", "layers"),
        (#"{"layerſ":[]}"#, "layerſ", "layers"), (#"{"layer\u017f":[]}"#, "layerſ", "layers"),
        (#"{"Config":{}}"#, "Config", "config"), (#"{"layers":[{"Digest":"x"}]}"#, "Digest", "digest"),
        (#"{"manifests":[{"platform":{"OS":"linux"}}]}"#, "OS", "os"), (#"{"foo":1,"Foo":2}"#, "Foo", "foo"),
        (#"{"Kk":1,"\u212aK":2}"#, "\u{212A}K", "Kk"), (#"{"Manifests":[]}"#, "Manifests", "manifests"),
    ])
    func aKeyInAnotherCaseIsRefusedByName(_ text: String, _ key: String, _ other: String) {
        #expect(Self.reason(text, .manifest) == .keysDifferInCase(key, other))
    }

    @Test func theConfigurationsKeysAreCheckedToo() {
        #expect(Self.reason(#"{"config":{"Env":[],"env":[]}}"#) == .keysDifferInCase("env", "Env"))
        #expect(Self.reason(#"{"config":{"entrypoint":[]}}"#) == .keysDifferInCase("entrypoint", "Entrypoint"))
        #expect(Self.reason(#"{"rootfs":{"DIFF_IDS":[]}}"#) == .keysDifferInCase("DIFF_IDS", "diff_ids"))
        #expect(Self.reason(#"[{"layers":[]}]"#, .archive) == .keysDifferInCase("layers", "Layers"))
        #expect(
            Self.reason(#"{"imagelayoutversion":"1"}"#, .layout)
                == .keysDifferInCase("imagelayoutversion", "imageLayoutVersion"))
    }

    @Test(arguments: [
        #"{"config":{"Labels":{"a":"1","A":"2"},"Volumes":{"/Data":{},"/data":{}},"ExposedPorts":{"80/tcp":{},"80/TCP":{}}}}"#,
        #"{"annotations":{"K":"1","k":"2"}}"#, #"{"vendor":{"x":{"A":1,"a":2}}}"#, " {\n\t\"os\" : \"linux\" } \r\n",
        "[1,-0.5e+10,0,true,false,null,\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"]", "{}", "[]",
    ])
    func keysThatAreDataMayDifferInCase(_ text: String) throws {
        #expect(Self.reason(text) == nil)
        #expect(try DocumentScanner.check(Array(text.utf8), as: .config) == Array(text.utf8))
    }

    @Test func otherEncodingsAreRefused() throws {
        let text = #"{"os":"linux"}"#
        #expect(Self.reason("\u{FEFF}" + text) == .byteOrderMark)
        for encoding in [
            String.Encoding.utf16, .utf16BigEndian, .utf16LittleEndian, .utf32, .utf32BigEndian, .utf32LittleEndian,
        ] {
            let data = try #require(text.data(using: encoding))
            #expect(Self.reason(Array(data)) == .otherEncoding)
        }
    }

    @Test(arguments: [
        "", " ", "{", "[1", #"{"a":1,}"#, "[1,]", "{} {}", "{}x", #"{"a" 1}"#, "{1:2}", "01", "1.", "-", "+1", "1e",
        "NaN",
        "tru", "truex", "'a'", "\"a\nb\"", #""\x""#, #""\u12""#, #""\ud800\u12""#, "\"a", "{}\u{0}", "[\"\u{0}\"]",
        "// c\n{}",
    ])
    func whatIsNotJSONIsRefused(_ text: String) {
        guard case .notJSON? = Self.reason(text) else {
            Issue.record("\(text): \(String(describing: Self.reason(text)))")
            return
        }
    }

    @Test func latin1AndLoneSurrogatesAreReadAsGoReadsThem() throws {
        #expect(try Self.repaired(Array("[\"caf".utf8) + [0xE9, 0x22, 0x5D]) == "[\"caf\u{FFFD}\"]")
        #expect(
            try Self.repaired(Array("[\"\u{E9}".utf8) + [0xC3, 0xFF, 0x22, 0x5D]) == "[\"\u{E9}\u{FFFD}\u{FFFD}\"]")
        #expect(
            try Self.repaired(Array(#"["\ud800x\udc00","\uD83D\uDE00"]"#.utf8)) == #"["\ufffdx\ufffd","\uD83D\uDE00"]"#)
        #expect(try Self.repaired(Array(#"["\ud800\ud83d\ude00"]"#.utf8)) == #"["\ufffd\ud83d\ude00"]"#)
        // Two keys that are equal after the replacement.
        #expect(Self.reason([0x7B, 0x22, 0xFF, 0x22] + Array(":1,\"".utf8) + [0xFE] + Array("\":2}".utf8)) != nil)
        // Surrogates and overlong forms are not valid UTF-8.
        for bytes: [UInt8] in [[0xED, 0xA0, 0x80], [0xC0, 0xAF], [0xF5, 0x80, 0x80, 0x80], [0xE0, 0x80, 0x80]] {
            #expect(try Self.repaired([0x22] + bytes + [0x22]).unicodeScalars.contains("\u{FFFD}"))
        }
    }

    @Test func depthAndValuesAreLimited() {
        let deep = String(repeating: "[", count: 101) + String(repeating: "]", count: 101)
        #expect(Self.reason(deep) == .tooDeep(limit: 100))
        #expect(Self.reason(String(deep.dropFirst().dropLast())) == nil)
        #expect(Self.reason(String(repeating: "[", count: 1_000_000)) == .tooDeep(limit: 100))
        let many = "[" + String(repeating: "{},", count: 300_000) + "{}]"
        #expect(Self.reason(many) == .tooManyValues(limit: 250_000))
    }

    @Test func theFaultSaysWhere() {
        do throws(DocumentFault) {
            _ = try DocumentScanner.check(Array(#"{"config":{"Env":[{"a":1,"a":2}]}}"#.utf8), as: .config)
        } catch {
            #expect(error.description == "config.Env: the key \"a\" occurs twice, so its meaning depends on the reader")
        }
    }
}
