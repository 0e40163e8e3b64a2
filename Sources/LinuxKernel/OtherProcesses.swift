/// A process according to /proc, proc(5). All users can read most of these files.
package struct OtherProcess: Equatable, Sendable {
    package let processID: Int
    /// The first 15 bytes of the program's name.
    package let name: String
    package let parent: Int
    /// The start time in hundredths of a second since boot.
    package let startTicks: UInt64
    /// The processor time of all threads, in hundredths of a second.
    package let processorTicks: UInt64
    /// Resident memory in bytes, including shared pages.
    package let residentBytes: UInt64

    /// Returns `nil` if the process has exited or `hidepid` hides it.
    package init?(_ processID: Int) {
        guard let bytes = try? contents(of: "/proc/\(processID)/stat", limit: 4096) else { return nil }  // exited
        self.init(processID, stat: bytes)
    }

    /// - Parameter directory: The open `/proc/PID`, which never refers to another process with a reused PID.
    package init?(_ processID: Int, in directory: borrowing OwnedFileDescriptor) {
        guard let bytes = try? directory.open("stat", .readOnly).readAll(limit: 4096) else { return nil }  // exited
        self.init(processID, stat: bytes)
    }

    private init?(_ processID: Int, stat bytes: [UInt8]) {
        // The name is in parentheses and may contain parentheses.
        guard let open = bytes.firstIndex(of: UInt8(ascii: "(")), let close = bytes.lastIndex(of: UInt8(ascii: ")")),
            open < close
        else { return nil }
        let fields = bytes[(close + 1)...].split(separator: UInt8(ascii: " "))
        func number(_ index: Int) -> UInt64? {
            index < fields.count ? UInt64(String(decoding: fields[index], as: UTF8.self)) : nil
        }
        guard let parent = number(1), let user = number(11), let system = number(12), let start = number(19),
            // A zombie counts as exited.
            !fields[0].elementsEqual("Z".utf8)
        else { return nil }
        self.processID = processID
        self.parent = Int(parent)
        name = String(decoding: bytes[(open + 1)..<close], as: UTF8.self)
        startTicks = start
        processorTicks = user + system
        residentBytes = (number(21) ?? 0) &* UInt64(Memory.pageBytes)
    }

    /// From this process's parent to the first process of its PID namespace.
    package static func ancestors() -> [OtherProcess] {
        var result: [OtherProcess] = []
        var next = OtherProcess(Int(Processes.ownID))?.parent ?? 0
        // A longer chain is a loop caused by PID reuse.
        while next > 0, result.count < 256, let process = OtherProcess(next) {
            result.append(process)
            next = process.parent
        }
        return result
    }

    /// The first process with this name.
    package static func named(_ name: String) -> OtherProcess? {
        guard let directory = try? OwnedFileDescriptor(opening: "/proc", .readOnly | .directory),  // no /proc: none
            let entries = try? directory.entries()  // likewise
        else { return nil }
        for entry in entries {
            if let number = Int(entry.displayPath), let process = OtherProcess(number), process.name == name {
                return process
            }
        }
        return nil
    }

    /// A limit from `/proc/PID/limits`, which all users can read; prlimit(2) needs a capability.
    package func limit(_ limit: ResourceLimit) -> LimitValues? {
        guard let bytes = try? contents(of: "/proc/\(processID)/limits", limit: 16384) else { return nil }  // exited
        return Self.limit(limit, in: String(decoding: bytes, as: UTF8.self))
    }

    package static func limit(_ limit: ResourceLimit, in text: String) -> LimitValues? {
        let label = label(of: limit)
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix(label + "  ") }) else { return nil }
        let words = line.dropFirst(label.utf8.count).split(separator: " ")
        func value(_ word: Substring) -> UInt64? { word == "unlimited" ? LimitValues.unlimited : UInt64(word) }
        guard words.count >= 2, let soft = value(words[0]), let hard = value(words[1]) else { return nil }
        return LimitValues(soft: soft, hard: hard)
    }

    private static func label(of limit: ResourceLimit) -> String {
        switch limit {
        case .addressSpace: "Max address space"
        case .core: "Max core file size"
        case .cpu: "Max cpu time"
        case .data: "Max data size"
        case .fileSize: "Max file size"
        case .locks: "Max file locks"
        case .lockedMemory: "Max locked memory"
        case .messageQueues: "Max msgqueue size"
        case .nice: "Max nice priority"
        case .openFiles: "Max open files"
        case .processes: "Max processes"
        case .residentSet: "Max resident set"
        case .realtimePriority: "Max realtime priority"
        case .realtimeTime: "Max realtime timeout"
        case .pendingSignals: "Max pending signals"
        case .stack: "Max stack size"
        }
    }
}
