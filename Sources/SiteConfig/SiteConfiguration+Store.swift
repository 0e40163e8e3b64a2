internal import LinuxKernel

extension SiteConfiguration {
    /// The store's path: from the command line, the environment, or the configuration, in this order. The default is
    /// `/var/lib/berth` for root, and `$XDG_DATA_HOME/berth` or `.local/share/berth` in the account's home directory
    /// for other users. A user without a home directory gets a private directory in `/tmp`.
    ///
    /// The default does not depend on `HOME`, which jobs and users change, because each new store must be filled again.
    /// `HOME` is used only if the account's home directory does not exist on this node. The launcher and the image tool
    /// both use this function, so that `berth run` finds what `berth pull` stores. An empty `BERTH_STORE` counts as
    /// unset, and `XDG_DATA_HOME` must be absolute, as its specification requires. The caller makes the result
    /// absolute.
    ///
    /// - Parameter accountHome: The home directory in the caller's passwd(5) entry.
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

    /// Where runs are recorded: `record-directory`, or else `berth/runs` in `$XDG_STATE_HOME` or in `.local/state` of
    /// the account's home directory. Returns `nil` for a user without a home directory.
    package func runRecords(environment: (String) -> String?, accountHome: String?) -> String? {
        if let recordDirectory { return recordDirectory }
        let state = environment("XDG_STATE_HOME").flatMap { $0.hasPrefix("/") ? $0 : nil }
        guard let base = state ?? Self.home(environment, accountHome).map({ $0 + "/.local/state" }) else { return nil }
        return base + "/berth/runs"
    }

    private static func home(_ environment: (String) -> String?, _ accountHome: String?) -> String? {
        // `/` and `/nonexistent` are home directories of service accounts.
        let own = accountHome.flatMap { $0 != "/" && (try? FileStatus(of: $0)) != nil ? $0 : nil }  // absent here
        guard let home = own ?? environment("HOME"), home.hasPrefix("/"), home != "/" else { return nil }
        return home
    }
}
