package import Devices

/// A line of a device cgroup's list: which nodes, and what may be done with them.
/// https://docs.kernel.org/admin-guide/cgroup-v1/devices.html
package struct DeviceRule: Equatable, Sendable {
    package enum Kind: UInt32, Sendable {
        /// `BPF_DEVCG_DEV_BLOCK`, `BPF_DEVCG_DEV_CHAR`
        case block = 1
        case character = 2
    }

    package struct Access: OptionSet, Sendable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }
        /// `BPF_DEVCG_ACC_MKNOD`, `…_READ`, `…_WRITE`
        package static let makeNode = Access(rawValue: 1)
        package static let read = Access(rawValue: 2)
        package static let write = Access(rawValue: 4)
    }

    package let kind: Kind
    package let major: UInt32
    /// `nil`: all of this major number.
    package let minor: UInt32?
    package let access: Access

    package init(_ kind: Kind, _ major: UInt32, _ minor: UInt32?, _ access: Access = [.read, .write]) {
        self.kind = kind
        self.major = major
        self.minor = minor
        self.access = access
    }

    package init(_ number: DeviceNode.Number, _ access: Access = [.read, .write]) {
        self.init(number.isBlock ? .block : .character, number.major, number.minor, access)
    }

    /// null, zero, full, random, urandom, tty, ptmx, the terminals below /dev/pts; and the making, not the opening, of
    /// 0:0, which is how overlayfs notes that a file is gone. No other node can be made.
    package static let standard: [DeviceRule] = [
        DeviceRule(.character, 1, 3), DeviceRule(.character, 1, 5), DeviceRule(.character, 1, 7),
        DeviceRule(.character, 1, 8), DeviceRule(.character, 1, 9), DeviceRule(.character, 5, 0),
        DeviceRule(.character, 5, 2), DeviceRule(.character, 136, nil),
        DeviceRule(.character, 0, 0, [.makeNode]),
    ]

    /// As `devices.allow` of version 1 takes it.
    package var line: String {
        var letters = ""
        if access.contains(.read) { letters += "r" }
        if access.contains(.write) { letters += "w" }
        if access.contains(.makeNode) { letters += "m" }
        return "\(kind == .block ? "b" : "c") \(major):\(minor.map { "\($0)" } ?? "*") \(letters)"
    }
}
