internal import CCapability
internal import CLinux

/// The capabilities(7) that Berth checks, by number.
package enum Capability: Int32, Sendable {
    case systemAdministration = 21
    case systemResource = 24
}

/// capabilities(7) through libcap: their names, and those of this process.
package enum Capabilities {
    /// `CAP_…` by number, as far as this libcap knows the names.
    package static let names: [String] = {
        var names: [String] = []
        // libcap returns digits for a number without a name.
        while let name = cap_to_name(cap_value_t(names.count)) {
            defer { cap_free(name) }
            let text = String(cString: name)
            guard text.hasPrefix("cap_") else { break }
            names.append(text.uppercased())
        }
        return names
    }()

    /// Takes every capability except these numbers out of the bounding set. The corresponding call is `prctl(2)`,
    /// `PR_CAPBSET_DROP`.
    package static func limitBounding(to kept: Set<Int>) throws(SystemError) {
        for number in 0..<Int(cap_max_bits()) where !kept.contains(number) {
            try checked("prctl", "PR_CAPBSET_DROP \(number)") { cap_drop_bound(cap_value_t(number)) }
        }
    }

    /// Takes every capability except these numbers from this process, and all from its inheritable and ambient sets. The
    /// corresponding call is `capset(2)`.
    package static func limitHeld(to kept: Set<Int>) throws(SystemError) {
        // Fails on kernels that have none.
        _ = cap_reset_ambient()
        guard let held = cap_get_proc(), let new = cap_init() else { throw SystemError.last("capget", "") }
        defer {
            cap_free(UnsafeMutableRawPointer(held))
            cap_free(UnsafeMutableRawPointer(new))
        }
        for number in kept {
            // A process cannot add capabilities that it does not hold.
            guard has(held, cap_value_t(number), CAP_PERMITTED) else { continue }
            var value = cap_value_t(number)
            cap_set_flag(new, CAP_PERMITTED, 1, &value, CAP_SET)
            cap_set_flag(new, CAP_EFFECTIVE, 1, &value, CAP_SET)
        }
        try checked("capset", "") { cap_set_proc(new) }
    }

    /// Whether this process may use a capability. Returns `false` if the query fails.
    package static func holds(_ capability: Capability) -> Bool {
        guard let held = cap_get_proc() else { return false }
        defer { cap_free(UnsafeMutableRawPointer(held)) }
        return has(held, capability.rawValue, CAP_EFFECTIVE)
    }

    private static func has(_ set: cap_t, _ number: cap_value_t, _ kind: cap_flag_t) -> Bool {
        var value = CAP_CLEAR
        return cap_get_flag(set, number, kind, &value) == 0 && value == CAP_SET
    }
}
