internal import NIOCore
internal import NIOPosix

/// Runs a task on a thread that also reads connections, and gives what it asks for to one of that thread's: what such a task
/// awaits needs no other thread to be woken.
package final class ConnectionExecutor: TaskExecutor {
    private let loop: any EventLoop

    /// The next in turn of the process' threads for the network.
    package init() { loop = MultiThreadedEventLoopGroup.singleton.next() }

    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let executor = asUnownedTaskExecutor()
        loop.execute { job.runSynchronously(on: executor) }
    }
}
