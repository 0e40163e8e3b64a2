import LaunchPlanning
import LinuxKernel

/// A host and an image as values, to be changed by each test in the one thing that it is about.
enum Sample {
    static let accounts = Accounts(
        userName: "ada", userID: 1001, groupID: 2001, fullName: "Ada Lovelace", home: "/home/ada",
        groups: [.init(name: "ada", id: 2001), .init(name: "hpc", id: 3000)])

    static var host: HostFacts {
        HostFacts(
            userID: 1001, groupID: 2001, accounts: accounts, environment: ["PATH=/host/bin", "TERM=xterm"],
            limits: [
                .lockedMemory: LimitValues(soft: 65536, hard: 8 << 20), .stack: LimitValues(soft: 8 << 20, hard: .max),
                .openFiles: LimitValues(soft: 1024, hard: 1_048_576), .core: LimitValues(soft: 0, hard: .max),
            ])
    }

    static var root: HostFacts {
        var host = host
        host.userID = 0
        host.groupID = 0
        host.accounts = Accounts(
            userName: "root", userID: 0, groupID: 0, home: "/root", groups: [.init(name: "root", id: 0)])
        return host
    }

    static var image: ContainerImage {
        ContainerImage(
            trees: ["/store/layers/a/tree", "/store/layers/b/tree"],
            environment: ["PATH=/usr/bin:/bin", "LANG=C.UTF-8"],
            command: ["/bin/sh"], name: "debian:12", digest: "sha256:00")
    }

    static func plan(
        image: ContainerImage = image, site: SitePolicy = SitePolicy(), host: HostFacts = host,
        _ change: (inout LaunchOptions) -> Void = { _ in }
    ) throws(PlanError) -> LaunchPlan {
        var options = LaunchOptions()
        options.image = image.name
        change(&options)
        return try LaunchPlan(options: options, image: image, site: site, host: host)
    }
}
