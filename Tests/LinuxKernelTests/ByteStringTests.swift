import LinuxKernel
import Testing

/// Strings are compared by bytes rather than characters: U+0301, U+FE0F and U+200D combine with the preceding
/// character.
@Suite struct ByteStringTests {
    static let joining = ["\u{301}", "\u{FE0F}", "\u{200D}"]

    @Test(arguments: joining) func separatorsAreFoundBeforeWhatJoinsThem(_ mark: String) {
        let entry = "A=\(mark)x"
        #expect(entry.hasPrefix("A="))
        #expect(entry[...].hasPrefix("A="))
        #expect(entry.firstIndex(of: "=") != nil && entry.lastIndex(of: "=") != nil && entry.contains("="))
        #expect(
            entry.split(separator: "=", maxSplits: 1).map(String.init).last.map { Array($0.utf8) }
                == Array("\(mark)x".utf8))
        #expect(entry.split(whereSeparator: { $0 == "=" }).count == 2)
        #expect(String(entry.prefix { $0 != "=" }) == "A")
        #expect(Array(entry.dropFirst(2).utf8) == Array("\(mark)x".utf8))
        let path = "/\(mark)"
        #expect(path.first == "/" && path.hasPrefix("/") && path.hasSuffix(mark))
        #expect(("x/" + mark).dropLast(mark.utf8.count).last == "/")
    }

    @Test func twoSpellingsOfALetterAreTwoNames() {
        let (one, two) = ("\u{E9}", "e\u{301}")
        #expect(!(one == two) && one != two)
        #expect(!(one[...] == two[...]))
        #expect(!(one + "=1").hasPrefix(two + "="))
    }

    @Test func piecesAreThoseOfTheStandardLibraryForASCII() {
        #expect("a,b,,c".split(separator: ",").map(String.init) == ["a", "b", "c"])
        #expect(
            "a,b,,c".split(separator: ",", omittingEmptySubsequences: false).map(String.init) == ["a", "b", "", "c"])
        #expect("a,b,c".split(separator: ",", maxSplits: 1).map(String.init) == ["a", "b,c"])
        #expect("".split(separator: ",", omittingEmptySubsequences: false).map(String.init) == [""])
        #expect(String("abc".dropFirst()) == "bc" && String("abc".dropFirst(9)).isEmpty)
        #expect(String("abc".dropLast()) == "ab" && String("abc".dropLast(9)).isEmpty)
        #expect("".first == nil && "".last == nil && "a".last == "a")
        #expect(String("  x".drop { $0 == " " }) == "x")
        #expect("abc".hasSuffix("bc") && !"c".hasSuffix("bc") && "abc".hasSuffix(""))
        #expect("éa".first == "\u{FFFD}", "a byte of a longer character is no separator")
    }

    @Test func aCharacterThatIsCutGoesAsAWhole() {
        for count in 1...4 {
            #expect("🇩x".dropFirst(count) == "x", "\(count)")
            #expect("x🇩".dropLast(count) == "x", "\(count)")
        }
        #expect("\u{301}=a".dropFirst() == "=a" && "ab".dropFirst(3) == "" && "".dropFirst() == "")
        #expect("é".dropFirst().isEmpty && "é".dropLast().isEmpty && "aé".dropFirst() == "é")
    }

    /// The searched character may come from input and must not crash the program.
    @Test func anyCharacterCanBeLookedFor() {
        for character in ["é", "e\u{301}", "\r\n", "\u{2028}", "🇩🇪"] as [Character] {
            #expect(!"rwm".contains(character) && "rwm".firstIndex(of: character) == nil)
            #expect("rwm".lastIndex(of: character) == nil)
            #expect(("a" + String(character) + "b").contains(character))
        }
    }
}
