//! A progress bar on standard error, for work that takes over a second.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows nothing for a second, then a bar until it is dropped. Only on a
/// terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    done: Option<mpsc::Sender<()>>,
    waiter: Option<JoinHandle<()>>,
}

impl Progress {
    /// A bar of so many steps; with fewer than two, a spinner.
    pub(crate) fn new(what: &str, steps: usize) -> Self {
        if steps > 1 {
            Self::with(
                "{msg} [{bar:30}] {pos}/{len} {elapsed}",
                what,
                Some(steps as u64),
            )
        } else {
            Self::with("{spinner} {msg} {elapsed}", what, None)
        }
    }

    /// A bar of bytes, see [`Progress::at`].
    pub(crate) fn bytes(what: &str) -> Self {
        Self::with(
            "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {elapsed}",
            what,
            Some(0),
        )
    }

    fn with(template: &str, what: &str, len: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        let (done, wait) = mpsc::channel::<()>();
        let shown = bar.clone();
        let waiter = std::thread::Builder::new().spawn(move || {
            if wait.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(Duration::from_millis(100));
            }
        });
        Progress {
            bar,
            done: Some(done),
            // Without a thread there is no bar, which is no reason to fail.
            waiter: waiter.ok(),
        }
    }

    /// So much of the total is done.
    pub(crate) fn at(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// One step more is done.
    pub(crate) fn step(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.done.take();
        if let Some(waiter) = self.waiter.take() {
            let _ = waiter.join();
        }
        self.bar.finish_and_clear();
    }
}
