extension SiteConfiguration {
    /// Where images are kept: what the command line says, else the environment, else the site or the user, else the
    /// default: `/var/lib/berth` for root, `$XDG_DATA_HOME/berth` for everybody else.
    ///
    /// The one rule of both programs: what `berth pull` fills is where `berth run` looks. An empty `BERTH_STORE` counts
    /// as unset, and `XDG_DATA_HOME` must be absolute, as its specification asks. The caller makes the result absolute.
    package func storePath(option: String?, environment: (String) -> String?, isRoot: Bool) -> String {
        let named = environment("BERTH_STORE").flatMap { $0.isEmpty ? nil : $0 }
        if let chosen = option ?? named ?? store { return chosen }
        if isRoot { return "/var/lib/berth" }
        let data = environment("XDG_DATA_HOME").flatMap { $0.hasPrefix("/") ? $0 : nil }
        return (data ?? (environment("HOME") ?? "/tmp") + "/.local/share") + "/berth"
    }
}
