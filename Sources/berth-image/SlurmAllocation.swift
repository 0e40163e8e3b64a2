internal import Diagnostics
internal import Distribution
internal import FoundationEssentials
internal import ImagePull
internal import ImageSpec
internal import LinuxKernel

/// The job whose nodes this program may use: sbatch(1), salloc(1), "OUTPUT ENVIRONMENT VARIABLES".
struct SlurmAllocation: Sendable {
    let job: String
    let nodes: Int
    private let environment: [String]
    private let path: String

    init(_ environment: [String: String]) throws(Failure) {
        guard let job = environment["SLURM_JOB_ID"],
            let nodes = (environment["SLURM_JOB_NUM_NODES"] ?? environment["SLURM_NNODES"]).flatMap({ Int($0) })
        else {
            throw Failure(
                Report(
                    "there is no allocation to bring an image to",
                    hint: "run it inside one: `salloc -N 4 berth prefetch IMAGE`, or in a batch script before srun; "
                        + "without Slurm `berth pull` fills this node's store"))
        }
        self.job = job
        self.nodes = nodes
        // What the job asks of its own steps is not for these: containers, GPUs, a number of CPUs for each task.
        let unwanted = [
            "SLURM_SPANK_", "_SLURM_SPANK_", "PYXIS_CONTAINER_", "BERTH_CONTAINER_", "SLURM_CPUS_PER_TASK=",
        ]
        self.environment = environment.map { "\($0)=\($1)" }.filter { entry in
            !unwanted.contains { entry.hasPrefix($0) }
                && ![
                    "SLURM_GRES=", "SLURM_GPUS", "SLURM_NTASKS", "SLURM_DISTRIBUTION=", "SLURM_STEP_",
                    "SLURM_EXPORT_ENV=",
                ]
                .contains { entry.hasPrefix($0) }
        }
        path = environment["PATH"] ?? "/usr/bin:/bin"
    }

    /// Runs a command once on every node, beside whatever runs there.
    func onEveryNode(_ command: [String], because purpose: String) throws(Failure) -> [String] {
        try run(
            "srun",
            [
                "--overlap", "--nodes=\(nodes)", "--ntasks=\(nodes)", "--ntasks-per-node=1", "--mem=0", "--gres=none",
                "--mpi=none", "--cpu-bind=none", "--kill-on-bad-exit=1", "--quiet",
            ] + command, because: purpose)
    }

    /// `berth pull` on every node; what each printed.
    func pull(_ words: [String], thenRemoving directory: String? = nil) throws(Failure) -> [String] {
        let program: String
        do throws(SystemError) { program = try Processes.ownPath() } catch { throw Failure(Report(error)) }
        guard let directory else {
            return try onEveryNode([program] + words, because: "pull the image on every node")
        }
        // The files go with the task that used them, however it ended.
        return try onEveryNode(
            [
                "/bin/sh", "-c", #"d=$1; shift; "$@"; s=$?; rm -rf -- "$d"; exit $s"#, "sh", directory, program,
            ] + words, because: "unpack the image on every node")
    }

    func run(_ name: String, _ arguments: [String], because purpose: String) throws(Failure) -> [String] {
        guard
            let program = path.split(separator: ":").map({ "\($0)/\(name)" }).first(where: {
                FileManager.default.isExecutableFile(atPath: $0)
            })
        else {
            throw Failure(
                Report("\(name) is not in PATH", hint: "Slurm's commands are needed to reach the other nodes"))
        }
        let environment = environment
        let ended = try reporting({ Report($0) }) { () throws(SystemError) in
            try Processes.run(
                program, arguments: [name] + arguments, environment: environment, output: .capture(limit: 1 << 20))
        }
        guard ended.status == 0 else {
            throw Failure(
                Report(
                    "cannot \(purpose): \(name) ended with \(ended.status)", hint: "see its error above"))
        }
        return String(decoding: ended.output, as: UTF8.self).split(separator: "\n").map(String.init)
    }
}

/// Layers on their way from one node to all: downloaded into a cache of one's own, handed on by sbcast(1) into a
/// directory of the same kind on each node, from which `berth pull` takes and verifies them.
struct BlobTransfer: Sendable {
    let allocation: SlurmAllocation
    private let source: String
    /// On every node.
    let target: String

    init(_ allocation: SlurmAllocation, below directory: String) throws(Failure) {
        self.allocation = allocation
        do throws(SystemError) {
            let place = try OwnedFileDescriptor(opening: directory, [.readOnly, .directory])
            // Of a name that nobody can have taken before.
            let name = "berth-prefetch-\(allocation.job)-" + (try Random.hexadecimal(bytes: 8))
            try place.makeDirectory(name, mode: 0o700)
            source = "\(directory)/\(name)"
            target = source + "-in"
        } catch {
            throw Failure(
                Report("cannot use \(directory): \(error.sentence)", hint: "--via DIRECTORY names another place"))
        }
    }

    func fetch(
        _ reference: Reference, _ mirrors: [Reference], _ client: RegistryClient, _ platform: Platform,
        _ passedOver: @escaping @Sendable (RegistryError) -> Void
    ) async throws(PullError) -> [Descriptor] {
        let cache: BlobCache
        do throws(SystemError) { cache = try BlobCache(source) } catch { throw .local(.system(error), path: source) }
        let origin = RegistryOrigin(
            reference, mirrors: mirrors, client: client, cache: cache, passedOver: passedOver)
        return try await BlobFetch(from: origin).fetch(for: platform)
    }

    func send(_ layers: [Descriptor]) throws(Failure) {
        _ = try allocation.onEveryNode(
            ["mkdir", "-m", "700", "--", target, "\(target)/blobs", "\(target)/partial"],
            because: "make \(target) on every node")
        do throws(Failure) {
            for layer in layers {
                let name = "\(layer.digest.algorithm.rawValue)-\(layer.digest.hex)"
                _ = try allocation.run(
                    "sbcast", ["\(source)/blobs/\(name)", "\(target)/blobs/\(name)"],
                    because: "hand a layer on to the nodes")
            }
        } catch {
            // The first error tells.
            _ = try? allocation.onEveryNode(["rm", "-rf", "--", target], because: "tidy up")
            throw error
        }
    }

    /// This node's part.
    func remove() {
        try? FileManager.default.removeItem(atPath: source)  // it lies in a directory for temporary files
    }
}
