internal import NIOCore
internal import NIOPosix

/// Runs a task on a thread that also reads connections, and uses connections of that thread, so that awaiting them
/// wakes no other thread.
package final class ConnectionExecutor: TaskExecutor {
    private let loop: any EventLoop

    /// Uses the next of the process's network threads.
    package init() { loop = MultiThreadedEventLoopGroup.singleton.next() }

    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let executor = asUnownedTaskExecutor()
        loop.execute { job.runSynchronously(on: executor) }
    }
}
