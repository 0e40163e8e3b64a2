internal import LaunchPlanning

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
            if word.isEmpty || ContainerFinder.isJob(word) { try entering.carryOut() }
            if try ContainerFinder.exists(word) { try entering.carryOut() }
        }
        var command = try RunCommand(["--entrypoint", "", "-it"] + arguments + ["--", "/bin/sh"])
        command.isShell = true
        try command.carryOut()
    }
}
