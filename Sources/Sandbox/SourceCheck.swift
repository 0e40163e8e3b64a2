package import LaunchPlanning
internal import LinuxKernel

extension BindMount {
    /// Why this cannot be mounted, as far as its source tells; `nil` where it can. Changes nothing: for `--dry-run`.
    package var sourceFailure: StepFailure? {
        do throws(SystemError) {
            let kind = try OwnedFileDescriptor(opening: source, .path).status().kind
            return isOfWrongKind(kind) ? .notADevice(source) : nil
        } catch {
            return optional ? nil : StepFailure(source: source, error)
        }
    }

    func isOfWrongKind(_ kind: FileStatus.Kind) -> Bool {
        device && ![.characterDevice, .blockDevice, .directory].contains(kind)
    }
}

extension StepFailure {
    init(source: String, _ error: SystemError) {
        self = error.errno == Errno.ENOENT ? .sourceMissing(source) : .sourceUnreadable(source, error)
    }
}
