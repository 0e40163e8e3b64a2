import LaunchPlanning
import Testing

/// `${NAME}` in experiment files and `--expand-env`.
@Suite struct VariableReferenceTests {
    private let variables = ["A": "1", "EMPTY": "", "PATH": "/bin"]

    @Test(arguments: [
        ("plain", "plain"), ("${A}", "1"), ("x${A}y${PATH}", "x1y/bin"), ("${EMPTY}", ""), ("${EMPTY:-d}", "d"),
        ("${NONE:-}", ""), ("${NONE:-a b:c}", "a b:c"), ("$$", "$"), ("$${A}", "${A}"), ("$A", "$A"), ("a$", "a$"),
        ("e\u{301}${A}\u{301}", "e\u{301}1\u{301}"),
    ]) func references(_ text: String, _ expected: String) throws {
        let found = try VariableReferences.resolve(text) { variables[$0] }
        #expect(found.utf8.elementsEqual(expected.utf8), "\(found)")
    }

    @Test func faults() {
        #expect(throws: VariableReferences.Fault.unset("NONE")) { try VariableReferences.resolve("${NONE}") { variables[$0] } }
        for text in ["${A", "${}", "${A-b}", "${1}", "${a b}", "${A:+x}"] {
            #expect(throws: VariableReferences.Fault.self, "\(text)") { try VariableReferences.resolve(text) { variables[$0] } }
        }
    }
}
