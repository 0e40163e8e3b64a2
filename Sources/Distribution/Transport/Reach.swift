internal import NIOCore
internal import Synchronization

/// Which addresses a connection may use.
///
/// A name does not determine its address, which may change at any time. The address is therefore checked after the
/// connection is established and before anything is sent.
enum Reach: Hashable, Sendable {
    /// The registry that the user specified: any address.
    case registry
    /// The target of a registry's redirect.
    case redirect(from: Origin)
    /// The token service of a registry, which receives credentials.
    case realm(of: Origin)

    /// The origin that chose the host; `nil` if the user did.
    var chosenBy: Origin? {
        switch self {
        case .registry: nil
        case .redirect(let origin), .realm(let origin): origin
        }
    }

    /// - Parameters:
    ///   - own: The local address of the connection.
    ///   - registry: The address of the origin that chose the host; `nil` if a proxy is used.
    func allows(_ peer: IPAddress, own: IPAddress?, registry: IPAddress?) -> Bool {
        if self == .registry { return true }
        switch peer.kind {
        // A registry on this host gains nothing by another port of the host.
        case .loopback: return registry?.kind == .loopback
        case .linkLocal, .unspecified: return peer == registry
        // Allow private networks, where token services and object stores often are.
        case .privateUse, .other:
            // A connection from an address to itself stays on this host. A registry in the same network may have its
            // token service on this node, but a public one does not.
            guard case .realm = self, peer == own, let registry else { return true }
            return registry == peer || registry.kind != .other
        }
    }

    /// Why a connection to a host at this address was rejected.
    func refusal(of origin: Origin, at address: String) -> RegistryError.Reason {
        let place = "\(origin) (\(address))"
        if case .realm = self { return .refusedRealm(.localAddress, realm: place) }
        return .refusedRedirect(.localAddress, to: place)
    }
}

/// A connection to an address that is not allowed.
struct RefusedAddress: Error, Equatable {
    let address: String
}

/// Records the addresses of origins and checks new connections.
final class PeerAddresses: Sendable {
    private let known = Mutex<[Origin: IPAddress]>([:])

    /// Fails and closes the connection if `reach` does not allow its address.
    func judge(_ channel: any Channel, _ origin: Origin, _ reach: Reach) -> EventLoopFuture<Void> {
        guard let text = channel.remoteAddress?.ipAddress, let peer = IPAddress(literal: text) else {
            return channel.eventLoop.makeFailedFuture(ChannelError.ioOnClosedChannel)
        }
        let own = channel.localAddress?.ipAddress.flatMap { IPAddress(literal: $0) }
        let isAllowed = known.withLock { known in
            guard reach.allows(peer, own: own, registry: reach.chosenBy.flatMap { known[$0] }) else { return false }
            known[origin] = peer
            return true
        }
        if isAllowed { return channel.eventLoop.makeSucceededVoidFuture() }
        // Close it in the loop's next turn, so that the pool sees the failure first.
        channel.eventLoop.execute { channel.close(promise: nil) }
        return channel.eventLoop.makeFailedFuture(RefusedAddress(address: text))
    }
}
