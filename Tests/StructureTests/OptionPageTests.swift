import Foundation
import LaunchPlanning
import TestSupport
import Testing

/// Generates the page of Docker's and Apptainer's options from the option table. `BERTH_RECORD=1` writes it.
@Suite struct OptionPageTests {
    static let path = packageRoot() + "/docs/reference/docker-options.md"

    static let introduction = """
        # Docker's options

        What each option of `docker run` does in [`berth run`](commands/run.md), and [Apptainer's options](#apptainers-options).

        <!-- not run: needs a GPU and an image of several gigabytes -->
        ```sh
        berth run --gpus all --rm -it --ipc=host --shm-size=16g --ulimit memlock=-1 --ulimit stack=67108864 \\
            -v $PWD:/workspace -w /workspace nvcr.io/nvidia/pytorch:24.05-py3 -- python train.py
        ```

        | answer | meaning |
        |---|---|
        | honoured | does what it says, or what it asks for is so in any case |
        | accepted | changes nothing; one line on standard error says what it means here, and `-q` suppresses the line |
        | refused | an error with exit status 125, because going on would be unsafe or not what was asked for |

        A flag that is off, such as `--privileged=false`, is as if it were not given.
        """

    static func sentence(_ option: RunOption) -> String {
        let text = option.meaning.prefix(1).uppercased() + option.meaning.dropFirst()
        // Escape the table's own punctuation.
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

        ## Options of `docker run`

        By name, those of Docker 27.

        \(table(.docker))

        ## Other differences

        | | Docker | Berth |
        |---|---|---|
        | container | has a name and stays until removed | has a name with `--name` only, and ends with its last process |
        | network, IPC, PID | own | the host's |
        | `/tmp`, `/dev/shm` | own | the host's |
        | user | root, or the image's USER | the caller |
        | host's environment | does not pass | [passes, if its paths exist inside](commands/run.md#which-variables-of-the-host-pass) |
        | `-v /missing:/path`, `-w /missing` | create the directory | are errors |
        | VOLUME of the image | an anonymous volume | ignored |
        | `-h` without a value | shows the help | shows the help; `-h NAME` sets a host name in both |
        | setuid programs | work | do not (`no_new_privs`) |

        [Why Docker's names](../explanation/decisions/command-line.md).

        ## Apptainer's options

        | Apptainer | Berth |
        |---|---|
        | `apptainer exec IMAGE COMMAND` | `berth run --entrypoint "" IMAGE -- COMMAND` |
        | `apptainer shell IMAGE` | `berth shell IMAGE` |
        | `apptainer run IMAGE` | `berth run IMAGE`: the image's ENTRYPOINT and CMD |
        | `docker://IMAGE` | the same, or without `docker://` |
        | `image.sif` | `berth run ./image.sif`: the squashfs partition is unpacked once |
        | `--env NAME=VALUE`, `--env-file FILE` | the same |
        | `--no-home` | the default, unless the site sets `home = yes` |
        | `--net --network none` | `--network none` |
        | `-e`, `-W`, `-c`, `-i`, `-p` | write the long name: these letters are Docker's here |

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
