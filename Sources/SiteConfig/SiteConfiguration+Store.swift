internal import LinuxKernel

extension SiteConfiguration {
    /// Where images are kept: the command line's word, else the environment's, else the site's or the user's, else the
    /// default: `/var/lib/berth` for root, `$XDG_DATA_HOME/berth` or `.local/share/berth` of the account's home directory for
    /// an ordinary user. A user without a home directory has a directory in `/tmp` that no two users share.
    ///
    /// The default does not follow `HOME`, which jobs and users change: a store that moves is pulled again. `HOME` counts
    /// where the account has no home directory on this node. Both programs use this rule: what `berth pull` fills is where
    /// `berth run` looks. An empty `BERTH_STORE` counts as unset, and `XDG_DATA_HOME` must be absolute, as its specification
    /// asks. The caller makes the result absolute.
    ///
    /// - Parameter accountHome: The home directory in the caller's line of passwd(5).
    package func storePath(
        option: String?, environment: (String) -> String?, userID: UInt32, isRoot: Bool, accountHome: String?
    ) -> String {
        let named = environment("BERTH_STORE").flatMap { $0.isEmpty ? nil : $0 }
        if let chosen = option ?? named ?? store { return chosen }
        if isRoot { return "/var/lib/berth" }
        let data = environment("XDG_DATA_HOME").flatMap { $0.hasPrefix("/") ? $0 : nil }
        if let data { return data + "/berth" }
        guard let home = Self.home(environment, accountHome) else { return "/tmp/berth-\(userID)" }
        return home + "/.local/share/berth"
    }

    /// Where runs are recorded: `record-directory`, else `berth/runs` in `$XDG_STATE_HOME`, else in `.local/state` of the
    /// account's home directory. `nil` for a user without one.
    package func runRecords(environment: (String) -> String?, accountHome: String?) -> String? {
        if let recordDirectory { return recordDirectory }
        let state = environment("XDG_STATE_HOME").flatMap { $0.hasPrefix("/") ? $0 : nil }
        guard let base = state ?? Self.home(environment, accountHome).map({ $0 + "/.local/state" }) else { return nil }
        return base + "/berth/runs"
    }

    private static func home(_ environment: (String) -> String?, _ accountHome: String?) -> String? {
        // `/` and `/nonexistent` are the homes of accounts for services.
        let own = accountHome.flatMap { $0 != "/" && (try? FileStatus(of: $0)) != nil ? $0 : nil }  // not on this node
        guard let home = own ?? environment("HOME"), home.hasPrefix("/"), home != "/" else { return nil }
        return home
    }
}
