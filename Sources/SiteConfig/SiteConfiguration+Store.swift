extension SiteConfiguration {
    /// Where images are kept: what the command line says, else the environment, else the site or the user, else the
    /// default: `/var/lib/berth` for root, `$XDG_DATA_HOME/berth` for everybody else, and without a `HOME` either a
    /// directory in `/tmp` that no two users share.
    ///
    /// The one rule of both programs: what `berth pull` fills is where `berth run` looks. An empty `BERTH_STORE` counts
    /// as unset, and `XDG_DATA_HOME` must be absolute, as its specification asks. The caller makes the result absolute.
    package func storePath(option: String?, environment: (String) -> String?, userID: UInt32) -> String {
        let named = environment("BERTH_STORE").flatMap { $0.isEmpty ? nil : $0 }
        if let chosen = option ?? named ?? store { return chosen }
        if userID == 0 { return "/var/lib/berth" }
        let data = environment("XDG_DATA_HOME").flatMap { $0.hasPrefix("/") ? $0 : nil }
        if let data { return data + "/berth" }
        guard let home = environment("HOME"), home.hasPrefix("/") else { return "/tmp/berth-\(userID)" }
        return home + "/.local/share/berth"
    }
}
