internal import Devices
internal import LinuxKernel

/// Which variables the command sees. From weakest to strongest: the host's, the image's, the devices', `--env-file`,
/// `--env`.
package enum ContainerEnvironment {
    /// Set inside by Berth or a shell, the state of the shell outside, or about locales, of which images have few; besides Berth's own, `BERTH_…`. Everything
    /// else passes, if the paths in it exist inside: `ProcessPlan.dropVariables`, once the container stands.
    static let hostOnly = [
        "PATH", "HOME", "USER", "LOGNAME", "PWD", "LANG", "LANGUAGE", "LC_ALL", "_", "OLDPWD", "SHLVL",
    ]

    static let defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    static func resolve(
        options: LaunchOptions, image: ContainerImage, site: SitePolicy, host: HostFacts
    ) throws(PlanError) -> (entries: [String], sources: [UInt8], hidden: [String]) {
        var variables = OrderedVariables()
        for entry in host.environment {
            // Steps that are started from inside are to find the same store.
            guard let (name, _) = split(entry), !hostOnly.contains(name), options.slurm || !name.hasPrefix("BERTH_")
            else { continue }
            if options.cleansEnvironment, !isOfJob(name) { continue }
            variables.add(entry, .host)
        }
        let accounts = LaunchPlan.insideAccounts(options, host)
        let home = LaunchPlan.home(options, site, host)?.target ?? accounts.home
        variables.set("PATH", defaultPath, .berth)
        // The image's USER is known only inside: the process sets its variables when it becomes that user.
        if !becomesImageUser(options, image, host) {
            variables.set("HOME", home, .berth)
            variables.set("USER", accounts.userName, .berth)
            variables.set("LOGNAME", accounts.userName, .berth)
        }
        if let hostname = options.hostname { variables.set("HOSTNAME", hostname, .option) }
        for entry in image.environment {
            if let (name, value) = ofImage(entry, host) { variables.set(name, value, .image) }
        }
        // The host's value wins, unless a path in it does not exist inside.
        var hidden: [String] = []
        for entry in image.defaults {
            guard let (name, value) = ofImage(entry, host) else { continue }
            if name != "PATH", variables.hasValue(name) {
                hidden.append(entry)
            } else {
                variables.set(name, value, .image)
            }
        }
        for edit in host.deviceEdits {
            guard case .variable(let entry, let isDefault) = edit.action, let (name, value) = split(entry) else {
                continue
            }
            if !isDefault || !variables.holds(name) { variables.set(name, value, .device) }
        }
        for variable in options.variables {
            switch variable {
            case .set(let name, let value): variables.set(name, value, .option)
            case .fromHost(let name): if let value = host.variable(name) { variables.set(name, value, .option) }
            case .expanded(let name, let text):
                let found = variables
                do throws(VariableReferences.Fault) {
                    let value = try VariableReferences.resolve(text) { found.value($0) ?? host.variable($0) }
                    variables.set(name, value, .option)
                } catch {
                    throw .unresolvedVariable(name, text, error)
                }
            case .unset(let name): variables.remove(name)
            }
        }
        if !image.name.isEmpty { variables.set("BERTH_IMAGE", image.name, .berth) }
        if !image.digest.isEmpty { variables.set("BERTH_IMAGE_DIGEST", image.digest, .berth) }
        return (variables.entries, variables.sources, hidden)
    }

    /// A variable of the image's, unless it is none of an image's to set: what the scheduler says of the job, which a process
    /// in an image must not get from elsewhere, and HOME, which is where this user's files are.
    private static func ofImage(_ entry: String, _ host: HostFacts) -> (String, String)? {
        guard let (name, value) = split(entry), !isOfScheduler(name), name != "HOME" || host.isRoot else { return nil }
        return (name, value)
    }

    /// Slurm's variables, PMI's and PMIx'.
    package static func isOfScheduler(_ entry: String) -> Bool { entry.hasPrefix("SLURM") || entry.hasPrefix("PMI") }

    /// What `--cleanenv` lets through: what describes the task and its place, the terminal, and the way to the network.
    private static func isOfJob(_ name: String) -> Bool {
        let names = [
            "TERM", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL",
            "http_proxy",
            "https_proxy", "no_proxy", "all_proxy", "ftp_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
            "FTP_PROXY",
        ]
        return names.contains(name) || isOfScheduler(name)
    }

    static func becomesImageUser(_ options: LaunchOptions, _ image: ContainerImage, _ host: HostFacts) -> Bool {
        host.isRoot && !options.root && (options.user != nil || !image.user.isEmpty)
    }

    private static func split(_ entry: String) -> (String, String)? {
        guard let equals = entry.utf8.firstIndex(of: UInt8(ascii: "=")), equals != entry.startIndex else { return nil }
        return (String(entry[..<equals]), String(entry[entry.utf8.index(after: equals)...]))
    }
}

/// Variables in the order of their first setting; a later value takes the earlier one's place.
///
/// Found by a hash of the name's bytes: an image may have 100,000 of them. A table of its own, as a dictionary of strings
/// would take two spellings of one letter for the same name, and costs every launch more.
private struct OrderedVariables {
    private(set) var entries: [String] = []
    /// Of each entry, a `VariableSource`; bytes, as the launch has an array of those already.
    private(set) var sources: [UInt8] = []
    /// One more than the place of an entry, or 0; twice as many as entries at least, and a power of two.
    private var slots = [Int32](repeating: 0, count: 256)

    /// One that is known to be new, as a process's own environment names each once.
    mutating func add(_ entry: String, _ source: VariableSource) {
        entries.append(entry)
        sources.append(source.rawValue)
        if entries.count * 2 > slots.count { grow() } else { insert(entries.count - 1) }
    }

    func holds(_ name: String) -> Bool { position(name.utf8) != nil }

    /// Whether it is set, and not empty.
    func hasValue(_ name: String) -> Bool {
        position(name.utf8).map { entries[$0].utf8.count > name.utf8.count + 1 } ?? false
    }

    func value(_ name: String) -> String? {
        position(name.utf8).map { String(decoding: entries[$0].utf8.dropFirst(name.utf8.count + 1), as: UTF8.self) }
    }

    /// In time linear in their number: the places of all that come later change.
    mutating func remove(_ name: String) {
        guard let place = position(name.utf8) else { return }
        entries.remove(at: place)
        sources.remove(at: place)
        slots = [Int32](repeating: 0, count: slots.count)
        for place in entries.indices { insert(place) }
    }

    mutating func set(_ name: String, _ value: String, _ source: VariableSource) {
        let entry = name + "=" + value
        if let position = position(name.utf8) {
            entries[position] = entry
            sources[position] = source.rawValue
        } else {
            add(entry, source)
        }
    }

    private func position(_ name: String.UTF8View) -> Int? {
        var slot = Self.hash(name) & (slots.count - 1)
        while slots[slot] != 0 {
            let place = Int(slots[slot]) - 1
            if Self.names(entries[place].utf8, name) { return place }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    private mutating func insert(_ place: Int) {
        var slot = Self.hash(entries[place].utf8) & (slots.count - 1)
        while slots[slot] != 0 { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = Int32(place + 1)
    }

    private mutating func grow() {
        slots = [Int32](repeating: 0, count: slots.count * 4)
        for place in entries.indices { insert(place) }
    }

    /// Of what stands before the first `=`. FNV-1a, begun at a random number of this process, so that no image can choose names
    /// that all meet in one slot.
    private static func hash(_ entry: String.UTF8View) -> Int {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ seed
        for byte in entry {
            if byte == UInt8(ascii: "=") { break }
            hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
        }
        return Int(truncatingIfNeeded: (hash ^ hash >> 29) & 0x7FFF_FFFF)
    }

    private static let seed = Random.ofProcess

    private static func names(_ entry: String.UTF8View, _ name: String.UTF8View) -> Bool {
        var rest = entry.makeIterator()
        for byte in name {
            guard rest.next() == byte else { return false }
        }
        return rest.next() == UInt8(ascii: "=")
    }
}
