//! Threads whose work may take longer give way to those that answer.

/// As `nice` counts it. At 5 a thread gets a quarter of a busy processor. At 10 and
/// 19 what it held was waited for, 30 ms and more.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Lets others go before the calling thread, as long as it lives.
pub fn give_way() {
    // On Linux the priority is the thread's own. Without it, it just takes from others.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// Runs something long on a thread that others go before: who is scored
/// meanwhile should not notice.
pub fn giving_way<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let after_others = || {
        give_way();
        work()
    };
    std::thread::scope(|scope| scope.spawn(after_others).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
