internal import Devices
internal import Diagnostics
internal import ImageSpec
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox
internal import SiteConfig
internal import Store

/// Everything that can keep a launch from happening.
enum Failure: Error {
    case options(OptionError)
    case configuration(ConfigurationError)
    case source(ImageSourceError)
    case platform(PlatformError)
    case store(StoreError)
    case plan(PlanError)
    case devices(DeviceError)
    case sandbox(SandboxError)
    case cgroupPolicy(CgroupPolicyError)
    case rendezvous(RendezvousError)
    case system(SystemError)
    case report(Report)
    /// Somebody else has said what is wrong.
    case reportedAlready
    case wantsHelp

    var report: Report? {
        switch self {
        case .options(let error): Report(error)
        case .configuration(let error): Report(error)
        case .source(let error): Report(error)
        case .platform(let error): Report(error)
        case .store(let error): Report(error)
        case .plan(let error): Report(error)
        case .devices(let error): Report(error)
        case .sandbox(let error): Report(error)
        case .cgroupPolicy(let error): Report(error)
        case .rendezvous(let error): Report(error)
        case .system(let error): Report(error)
        case .report(let report): report
        case .reportedAlready, .wantsHelp: nil
        }
    }
}

/// Calls something with an error type of its own, and makes a failure of its error.
func mapError<Value: ~Copyable, Cause: Error>(
    to failure: (Cause) -> Failure, _ body: () throws(Cause) -> Value
) throws(Failure) -> Value {
    do throws(Cause) { return try body() } catch { throw failure(error) }
}
