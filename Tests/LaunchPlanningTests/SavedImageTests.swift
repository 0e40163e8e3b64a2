@testable import LaunchPlanning
import Testing

/// What a squashfs file keeps of an image besides its files.
@Suite struct SavedImageTests {
    static let awkward = [
        "plain", "", "two words", "it's", "say \"hi\"", "$HOME `id` $(id)", "back\\slash", "line\nbreak", "tab\there",
        "*?[x]",
        "-n", "é\u{301}", "a=b", "#no comment", "semi;colon & more | pipe", "'", "\\'", "\"",
    ]

    static func image(_ word: String) -> ContainerImage {
        ContainerImage(
            trees: [], environment: ["PATH=/bin", "WORD=" + word, "LAST=1"], entrypoint: ["/bin/start", word],
            command: [word, "end"], user: "app:users", workingDirectory: "/work " + word)
    }

    @Test(arguments: awkward) func everyWordSurvives(_ word: String) {
        let saved = SavedImage(Self.image(word))
        #expect(
            SavedImage(environment: saved.environmentFile, script: saved.script, exact: saved.exactFile) == saved)
    }

    /// As Enroot would have it, without the file that is Berth's own.
    @Test(arguments: awkward) func enrootsFilesAloneGiveTheSameWords(_ word: String) {
        let saved = SavedImage(Self.image(word))
        let read = SavedImage(environment: saved.environmentFile, script: saved.script, exact: [])
        #expect(read.entrypoint == saved.entrypoint)
        #expect(read.command == saved.command)
        #expect(read.workingDirectory == saved.workingDirectory)
        if !word.contains("\n") { #expect(read.environment == saved.environment) }
    }

    /// Each once took time in the square of the length: an hour for the largest.
    @Test(.timeLimit(.minutes(1)), arguments: ["x", "''", "\"\"", "$''", "\\x"])
    func wordsOfAnyLengthAreReadInOneGo(_ part: String) {
        let script = "exec " + String(repeating: part, count: 1_000_000) + " \"$@\"\n"
        let read = SavedImage(environment: [], script: Array(script.utf8), exact: [])
        #expect(read.entrypoint.count <= 1)
    }

    @Test func aFileThatWasChangedSinceIsBelieved() {
        let saved = SavedImage(Self.image("x"))
        let environment = saved.environmentFile + Array("ADDED=1\n".utf8)
        let read = SavedImage(environment: environment, script: saved.script, exact: saved.exactFile)
        #expect(read.environment.contains("ADDED=1"))
        #expect(read.entrypoint == ["/bin/start", "x"])
    }

    /// The script that Enroot 3.5 and 4 write.
    @Test func scriptsOfEnrootAreRead() {
        let script = """
            #!/bin/sh
            mkdir -p "/opt/my app" 2> /dev/null
            cd "/opt/my app" && unset OLDPWD || exit 1

            if [ -s /etc/rc.local ]; then
                . /etc/rc.local
            fi

            if [ $# -gt 0 ]; then
                exec '/entry point' 'it'\\''s' $'two\\nlines' "$@"
            else
                exec '/entry point' 'it'\\''s' $'two\\nlines' 'python3' '-c' 'print(1)'
            fi
            """
        let read = SavedImage(
            environment: Array("# comment\nA=1\nB=x=y\n".utf8), script: Array(script.utf8), exact: [])
        #expect(read.workingDirectory == "/opt/my app")
        #expect(read.entrypoint == ["/entry point", "it's", "two\nlines"])
        #expect(read.command == ["python3", "-c", "print(1)"])
        #expect(read.environment == ["A=1", "B=x=y"])
    }

    @Test(arguments: ["", "exec", "exec '", "exec \"", "exec $'", "\\", "cd", "'", "exec \"$@\""])
    func whatIsCutShortIsNoTrap(_ text: String) {
        let read = SavedImage(environment: [], script: Array(text.utf8), exact: Array("berth-saved-image 1\n".utf8))
        #expect(read.command == ["/bin/sh"])
    }
}
