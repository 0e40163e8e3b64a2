internal import CLinux

/// Packets and descriptors between processes of one node, over unix(7) sockets with abstract names: no file is left
/// behind, and a name is free again the moment its owner dies.
package enum LocalSockets {
    /// Takes the name and listens; `nil` where somebody has it. The corresponding calls are `bind(2)`, `listen(2)`.
    package static func listen(_ name: String) throws(SystemError) -> OwnedFileDescriptor? {
        let socket = try make()
        let bound = name.withCString { berth_bind_abstract(socket.rawValue, $0) }
        if bound == -1 {
            if berth_errno() == EADDRINUSE { return nil }
            throw SystemError.last("bind", "@" + name)
        }
        try checked("listen", "@" + name) { CLinux.listen(socket.rawValue, 4096) }
        return socket
    }

    /// `nil` where nobody listens any more. The corresponding call is `connect(2)`.
    package static func connect(_ name: String) throws(SystemError) -> OwnedFileDescriptor? {
        let socket = try make()
        while name.withCString({ berth_connect_abstract(socket.rawValue, $0) }) == -1 {
            switch berth_errno() {
            case ECONNREFUSED, ENOENT: return nil
            case EINTR: continue
            default: throw SystemError.last("connect", "@" + name)
            }
        }
        return socket
    }

    private static func make() throws(SystemError) -> OwnedFileDescriptor {
        OwnedFileDescriptor(rawValue: try checked("socket", "AF_UNIX") { berth_seqpacket() })
    }
}

/// A packet, and the descriptors that came with it.
package struct Packet: Sendable {
    package let bytes: [UInt8]
    package let descriptors: [DescriptorBox]
}

extension OwnedFileDescriptor {
    /// `nil` where nobody has come within that time. The corresponding calls are `poll(2)`, `accept4(2)`.
    package func accept(withinMilliseconds limit: Int) throws(SystemError) -> OwnedFileDescriptor? {
        guard try isReadable(withinMilliseconds: limit) else { return nil }
        return OwnedFileDescriptor(rawValue: try checked("accept4", procPath) { berth_accept(rawValue) })
    }

    /// Whether there is something to read, or the other end has closed. The corresponding call is `poll(2)`.
    package func isReadable(withinMilliseconds limit: Int) throws(SystemError) -> Bool {
        var request = pollfd(fd: rawValue, events: Int16(POLLIN), revents: 0)
        let ready = try checked("poll", procPath) { poll(&request, 1, Int32(clamping: limit)) }
        return ready > 0
    }

    /// Whoever sends from now on is told that nobody listens. The corresponding call is `shutdown(2)`, `SHUT_RD`.
    package func stopReceiving() { _ = shutdown(rawValue, Int32(SHUT_RD)) }  // the other end may be gone

    /// The process and user at the other end, as they were when it connected or listened: `SO_PEERCRED`.
    package func peer() throws(SystemError) -> (processID: Int32, userID: UInt32) {
        var process: Int32 = 0
        var user: UInt32 = 0
        try checked("getsockopt", "SO_PEERCRED") { berth_peer(rawValue, &process, &user) }
        return (process, user)
    }

    /// Sends one packet, with at most twelve descriptors. The corresponding call is `sendmsg(2)`, `SCM_RIGHTS`.
    package func send(_ bytes: [UInt8], _ descriptors: [DescriptorBox] = []) throws(SystemError) {
        let raw = descriptors.map { $0.descriptor.rawValue }
        precondition(raw.count <= BERTH_MAX_DESCRIPTORS)
        try checked("sendmsg", procPath) { berth_send(rawValue, bytes, bytes.count, raw, raw.count) }
    }

    /// One packet; `nil` where the other end has closed. The corresponding call is `recvmsg(2)`.
    package func receive(limit: Int = 65536) throws(SystemError) -> Packet? {
        var bytes = [UInt8](repeating: 0, count: limit)
        var raw = [Int32](repeating: -1, count: BERTH_MAX_DESCRIPTORS)
        var count = 0
        let size: Int
        do throws(SystemError) {
            size = try checked("recvmsg", procPath) { berth_receive(rawValue, &bytes, limit, &raw, &count) }
        } catch {
            if error.errno == ECONNRESET { return nil }
            throw error
        }
        if size == 0 { return nil }
        bytes.removeLast(limit - size)
        return Packet(
            bytes: bytes, descriptors: raw.prefix(count).map { DescriptorBox(OwnedFileDescriptor(rawValue: $0)) })
    }
}
