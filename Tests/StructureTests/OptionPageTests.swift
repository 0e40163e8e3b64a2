import Foundation
import LaunchPlanning
import TestSupport
import Testing

/// The page of Docker's and Apptainer's options is generated from the option table. `BERTH_RECORD=1` writes it.
@Suite struct OptionPageTests {
    static let path = packageRoot() + "/docs/reference/docker-options.md"

    static let introduction = """
        # Options of Docker and Apptainer

        What each option of `docker run` does in [`berth run`](commands/run.md), and what Apptainer's options are here.

        ```
        berth run --gpus all --rm -it --ipc=host --shm-size=16g --ulimit memlock=-1 --ulimit stack=67108864 \\
            -v $PWD:/workspace -w /workspace nvcr.io/nvidia/pytorch:24.05-py3 -- python train.py
        ```

        | word | meaning |
        |---|---|
        | honoured | does what it says, or what it asks for is so in any case |
        | accepted | changes nothing; one line on standard error says what it means here, and `-q` suppresses the line |
        | refused | an error with exit status 125, because going on would be unsafe or not what was asked for |

        A flag that is off, such as `--privileged=false`, is as if it were not given.
        """

    static func sentence(_ option: RunOption) -> String {
        let text = option.meaning.prefix(1).uppercased() + option.meaning.dropFirst()
        // Punctuation of the table itself.
        return text.replacing("|", with: "\\|") + (option.answer == .refused ? ". Instead: \(option.remedy)." : ".")
    }

    static func row(_ option: RunOption) -> String {
        let letter = option.short.map { "`-\($0)`, " } ?? ""
        let value = option.argument == .none ? "" : option.argument == .one ? " VALUE" : "[=VALUE]"
        let others = RunOption.otherNames.filter { $0.means == option.name }.map { ", `--\($0.name)`" }.joined()
        return "| \(letter)`--\(option.name)\(value)`\(others) | \(option.answer.rawValue) | \(sentence(option)) |"
    }

    static func table(_ origin: RunOption.Origin) -> String {
        let options = RunOption.table.filter { $0.origin == origin }.sorted { $0.name < $1.name }
        return "| option | here | what it does |\n|---|---|---|\n" + options.map(row).joined(separator: "\n")
    }

    static var page: String {
        """
        \(introduction)

        ## `docker run`

        The options of Docker 27, by name.

        \(table(.docker))

        ## Apptainer

        `apptainer run`, `exec` and `shell` are `berth run`:

        | Apptainer | Berth |
        |---|---|
        | `apptainer run IMAGE ARGUMENT…` | `berth run IMAGE -- ARGUMENT…` |
        | `apptainer exec IMAGE COMMAND` | `berth run --entrypoint "" IMAGE -- COMMAND` |
        | `apptainer shell IMAGE` | `berth run --entrypoint "" IMAGE -- /bin/sh` |
        | `-e` (`--cleanenv`), `-W`, `-i`, `-p`, `-c` | write the long name: these letters are Docker's here |

        \(table(.apptainer))

        """
    }

    @Test func thePageIsGeneratedFromTheOptionTable() throws {
        if ProcessInfo.processInfo.environment["BERTH_RECORD"] == "1" {
            try Data(Self.page.utf8).write(to: URL(fileURLWithPath: Self.path))
        }
        let written = try String(contentsOfFile: Self.path, encoding: .utf8)
        #expect(written == Self.page, "run StructureTests with BERTH_RECORD=1 and read what it writes")
    }

    @Test func everyOptionOfOthersHasARow() {
        for option in RunOption.table where option.origin != .berth {
            #expect(Self.page.contains("`--\(option.name)") && !option.meaning.isEmpty, "--\(option.name)")
        }
    }
}
