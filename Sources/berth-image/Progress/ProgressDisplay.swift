internal import Diagnostics
internal import Glibc
internal import ImagePull
internal import LinuxKernel
internal import Synchronization

/// Shows a pull on standard error: redrawn in place on a terminal, a line now and then elsewhere, nothing with `-q`.
///
/// Events only change a value under a lock; one task draws, at most ten times a second, however fast they come.
final class ProgressDisplay: Sendable {
    enum Style: Sendable { case silent, lines, redrawn }

    private struct State {
        var progress: PullProgress
        var meter = RateMeter()
        var drawnLines = 0
        var lastDrawn: PullProgress?
        var lastLine = 0.0
        var announced: PullProgress.Stage?
    }

    private let style: Style
    private let state: Mutex<State>
    private let started = Double(Clock.monotonicNanoseconds) / 1e9
    private let drawing = Mutex<Task<Void, Never>?>(nil)
    private static let secondsBetweenLines = 10.0

    init(name: String, style: Style) {
        self.style = style
        state = Mutex(State(progress: PullProgress(name: name)))
    }

    static func style(quiet: Bool, environment: [String: String]) -> Style {
        if quiet { return .silent }
        return isatty(2) == 1 && environment["TERM"] != "dumb" ? .redrawn : .lines
    }

    func start() {
        guard style != .silent else { return }
        let task = Task { [weak self] in
            while !Task.isCancelled {
                self?.draw()
                try? await Task.sleep(for: .milliseconds(100))  // ends the loop where it was cancelled
            }
        }
        drawing.withLock { $0 = task }
    }

    func report(_ event: PullEvent) { state.withLock { $0.progress.apply(event) } }

    /// A line for people that stays, above what is redrawn.
    func note(_ line: String) {
        guard style != .silent else { return }
        state.withLock { state in
            Output.note(Self.erase(state.drawnLines))
            Output.note(line: line)
            state.drawnLines = min(state.drawnLines, 0)
        }
    }

    /// Clears what was drawn, so that what comes after stands alone.
    func stop() {
        drawing.withLock { task in
            task?.cancel()
            task = nil
        }
        guard style == .redrawn else { return }
        let drawn = state.withLock { state in
            defer { state.drawnLines = -1 }
            return state.drawnLines
        }
        if drawn > 0 { Output.note(Self.erase(drawn)) }
    }

    var seconds: Double { Double(Clock.monotonicNanoseconds) / 1e9 - started }

    /// Back to the first drawn line, and everything below it gone.
    private static func erase(_ lines: Int) -> String {
        lines > 0 ? "\r" + (lines > 1 ? "\u{1B}[\(lines - 1)A" : "") + "\u{1B}[J" : ""
    }

    private func draw() {
        let now = seconds
        let size = style == .redrawn ? Self.terminalSize() : (width: 1000, height: 1)
        // Written under the lock: `stop` must not clear while a drawing is on its way.
        state.withLock { state in
            guard state.drawnLines >= 0 else { return }
            state.meter.add(state.progress.downloadedBytes, at: now)
            switch style {
            case .silent: break
            case .redrawn:
                let text = ProgressLines(rate: state.meter.rate, width: size.width, height: size.height)
                    .lines(for: state.progress)
                Output.note(Self.erase(state.drawnLines) + text.joined(separator: "\n"))
                state.drawnLines = text.count
            case .lines: drawLine(&state, now, width: size.width)
            }
        }
    }

    /// A log gets a line for each stage, and for a long one a line now and then.
    private func drawLine(_ state: inout State, _ now: Double, width: Int) {
        let isNewStage = state.announced != state.progress.stage
        guard isNewStage || now - state.lastLine >= Self.secondsBetweenLines else { return }
        if state.progress.stage == .resolving, now < 1 { return }
        guard isNewStage || state.lastDrawn != state.progress else { return }
        let lines = ProgressLines(rate: state.meter.rate, width: width, height: 1).lines(for: state.progress)
        if let first = lines.first { Output.note(line: first) }
        state.lastLine = now
        state.announced = state.progress.stage
        state.lastDrawn = state.progress
    }

    private static func terminalSize() -> (width: Int, height: Int) {
        var size = winsize()
        guard ioctl(2, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else { return (80, 24) }
        return (Int(size.ws_col), Int(size.ws_row))
    }
}
