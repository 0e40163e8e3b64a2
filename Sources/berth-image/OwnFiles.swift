internal import LinuxKernel

/// The right to read all of the caller's own files, those too that he may not read at present: images have files of mode
/// 000, `/etc/shadow` for one, and in a rootless store they belong to the caller.
///
/// A user namespace of his own, in which he is who he was, gives it. It can only be entered by a single thread, and where
/// the host forbids it half way (AppArmor does) there is no way back: so another process tries it first.
enum OwnFiles {
    private static let trial = "try-user-namespace"

    static func prepare(_ arguments: [String]) {
        if arguments == [trial] { Processes.exit(enter() ? 0 : 1) }
        let readsFiles = arguments.first == "export" || (arguments.first == "diff" && DiffCommand.isPrepared(arguments))
        guard readsFiles, !Identity.isRoot else { return }
        // Without it, files that cannot be read are errors that name them.
        guard
            let ended = try? Processes.run(
                "/proc/self/exe", arguments: ["berth", trial], environment: [], output: .capture(limit: 4096)),
            ended.status == 0
        else { return }
        _ = enter()
    }

    private static func enter() -> Bool {
        let (user, group) = (Identity.userID, Identity.groupID)
        do throws(SystemError) {
            try Namespaces.create(.user)
            try Namespaces.mapIDs(insideUser: user, outsideUser: user, insideGroup: group, outsideGroup: group)
            return true
        } catch {
            return false
        }
    }
}
