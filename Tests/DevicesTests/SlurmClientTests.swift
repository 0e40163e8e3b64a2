import Foundation
import LinuxKernel
import TestSupport
import Testing

@testable import Devices

/// Simulated roots with real programs, to test the libraries that are found.
@Suite struct SlurmClientTests {
    static func tree() throws -> (TemporaryDirectory, HostTree) {
        let (place, host) = try HostTests.host([
            "opt/slurm/etc/slurm.conf": "", "opt/slurm/bin/squeue": "", "opt/slurm/lib/slurm/libslurmfull.so": "",
            "opt/slurm/lib/slurm/auth_munge.so": "", "opt/slurm/lib/slurm/task_cgroup.so": "", "run/munge/socket": "",
            "site/spank_x.so": "", "usr/bin/srun": "",
        ])
        return (place, host)
    }

    @Test func whatIsFound() throws {
        let (place, host) = try Self.tree()
        defer { withExtendedLifetime(place) {} }
        let client = try #require(
            try SlurmClient(
                configuration: "/opt/slurm/etc", pluginDirectories: ["/opt/slurm/lib/slurm", "/absent"],
                spankPlugins: ["/site/spank_x.so", "/site/absent.so", "/opt/slurm/lib/slurm/auth_munge.so"],
                socket: nil,
                path: ["/usr/bin", "/opt/slurm/bin"], host: host))
        #expect(client.files == ["/usr/bin/srun", "/opt/slurm/bin/squeue", "/site/spank_x.so"])
        #expect(client.directories == ["/opt/slurm/lib/slurm", "/opt/slurm/etc", "/run/munge"])
        let edits = client.edits()
        #expect(edits.allSatisfy { $0.origin == .option("--slurm") })
        let links = edits.compactMap { edit -> String? in
            if case .symlink(let path, let target) = edit.action { "\(path) -> \(target)" } else { nil }
        }
        #expect(links == ["/usr/local/bin/squeue -> /opt/slurm/bin/squeue"])
    }

    @Test func withoutSrunThereIsNothing() throws {
        let (place, host) = try Self.tree()
        defer { withExtendedLifetime(place) {} }
        #expect(
            try SlurmClient(
                configuration: "/opt/slurm/etc", pluginDirectories: [], spankPlugins: [], socket: nil,
                path: ["/opt/slurm/bin"], host: host) == nil)
    }

    /// The directory of a socket elsewhere is mounted, but not `/` or a file.
    @Test func socketsByTheirDirectory() throws {
        let (place, host) = try Self.tree()
        defer { withExtendedLifetime(place) {} }
        for (socket, expected) in [
            ("/site/s", ["/site", "/run/munge"]), ("/s", ["/run/munge"]), ("/usr/bin/srun/s", ["/run/munge"]),
        ] {
            let client = try #require(
                try SlurmClient(
                    configuration: "/absent", pluginDirectories: [], spankPlugins: [], socket: socket,
                    path: ["/usr/bin"],
                    host: host))
            #expect(client.directories == expected, "\(socket)")
        }
    }
}
