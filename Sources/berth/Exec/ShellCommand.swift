internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel

/// `berth shell [OPTIONS] [CONTAINER|IMAGE]`: a shell in a running container, or in a new one of an image.
enum ShellCommand {
    static func carryOut(_ arguments: [String]) throws(Failure) -> Never {
        var entering: ExecCommand?
        do throws(Failure) { entering = try ExecCommand(arguments, isShell: true) } catch {
            if case .wantsHelp = error { throw error }
            // An option that only a new container has.
        }
        if let entering {
            let word = entering.options.image
            var isContainer = word.isEmpty || ContainerFinder.isJob(word)
            if !isContainer { isContainer = try ContainerFinder.exists(word) }
            if isContainer {
                try refuse(entering.options.command, insteadOf: "berth exec \(word.isEmpty ? "--" : word)")
                try entering.carryOut()
            }
        }
        var command = try RunCommand(["--entrypoint", "", "-it"] + arguments + ["--", "/bin/sh"])
        let options = command.request.options
        // `IMAGE --` leaves its dashes here.
        let words = options.command.dropLast(2)
        try refuse(words.first == "--" ? words.dropFirst() : words, insteadOf: "berth run \(options.image) --")
        command.isShell = true
        try command.carryOut()
    }

    private static func refuse(_ command: some Collection<String>, insteadOf instead: String) throws(Failure) {
        if command.isEmpty { return }
        let words = command.joined(separator: " ")
        throw .report(Report("`berth shell` takes no command: \(words)", hint: "run it with `\(instead) \(words)`"))
    }
}
