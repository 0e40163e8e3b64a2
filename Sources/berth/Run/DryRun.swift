internal import Devices
internal import Diagnostics
internal import ImageSpec
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox

/// `berth run --dry-run`: what would be done, as far as it can be known without doing it.
struct DryRun {
    let request: LaunchRequest

    init(_ request: LaunchRequest) { self.request = request }

    func print(_ format: LaunchOptions.DryRun) throws(Failure) {
        let (plan, edits) = try plan()
        switch format {
        case .text: Terminal.print(plan.text(try explanation(plan, edits)))
        case .oci: try printOCIConfiguration(plan)
        }
        try check(plan)
    }

    /// What a launch would fail at, as it would say it.
    private func check(_ plan: LaunchPlan) throws(Failure) {
        for (index, step) in plan.steps.enumerated() {
            var failure: StepFailure?
            switch step.action {
            case .bind(let bind): failure = bind.sourceFailure
            case .scratch(.directory(let path)):
                do throws(SystemError) { _ = try OwnedFileDescriptor(opening: path, .readOnly | .directory) } catch {
                    failure = .system(error)
                }
            default: continue
            }
            if let failure {
                throw .sandbox(.step(index: index + 1, count: plan.steps.count, step, failure))
            }
        }
    }

    private func plan() throws(Failure) -> (plan: LaunchPlan, edits: [DeviceEdit]) {
        let grant = try DeviceGrant(request)
        let image = try imageIfPresent()
        let name = request.options.image
        let unknown = ContainerImage(trees: ["(layers of \(name))"], command: ["(the image's command)"], name: name)
        let planner = LaunchPlanner(request, image ?? LocatedImage(image: unknown, mountPoint: "/", leases: []))
        let selection = try planner.selector(grant).select(gpus: grant.gpus)
        var plan = try planner.plan(grant, selection)
        // The paths of an image that was not pulled yet are unknown.
        if image != nil {
            let paths = PlannedPaths(plan)
            plan.process.dropVariables(exists: paths.exists)
        }
        return (plan, selection.edits)
    }

    private func imageIfPresent() throws(Failure) -> LocatedImage? {
        if case .squashfs(let file) = request.source, !UnpackedSquashfs.exists(file, storePath: request.settings.storePath) {
            // Unpacking would write a store, and a dry run writes nothing.
            let name = request.options.image
            guard request.options.dryRun != .oci else {
                throw .report(
                    Report(
                        "\(name) is not unpacked yet, and --dry-run=oci needs its files",
                        hint: "unpack it with `berth run \(name) -- true`"))
            }
            Terminal.note("\(name) is not unpacked yet: it would be unpacked first, and decides the rest of the plan")
            return nil
        }
        do throws(Failure) { return try ImageLocator(request).find() } catch {
            guard case .stored = request.source, request.options.pull != .never, request.options.dryRun != .oci else {
                throw error
            }
            Terminal.note(
                "\(request.options.image) is not in the store yet: it would be pulled first, and decides the rest of the plan"
            )
            return nil
        }
    }
}
