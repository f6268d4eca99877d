//! Commands of users that check a model.

use std::fmt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A command that is run for a model.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) command: String,
    pub(crate) timeout: Option<Duration>,
    /// Show what it prints.
    pub(crate) show: bool,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// With this status; of a signal, 128 and its number.
    Exit(i32),
    /// It was stopped.
    Timeout,
}

impl Status {
    pub(crate) fn is_success(self) -> bool {
        self == Status::Exit(0)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Exit(status) => write!(f, "status {status}"),
            Status::Timeout => f.write_str("a timeout"),
        }
    }
}

/// Ends of a check that mean the same.
#[derive(Debug)]
pub(crate) struct Statuses(Vec<Status>);

impl Statuses {
    /// Reads numbers and `timeout`; `None` where there are none.
    pub(crate) fn parse(words: &[String]) -> anyhow::Result<Option<Self>> {
        let one = |word: &String| match word.trim() {
            "timeout" => Ok(Status::Timeout),
            number => match number.parse() {
                Ok(status @ 0..=255) => Ok(Status::Exit(status)),
                _ => bail!("--check-exit {word}: give numbers from 0 to 255, or `timeout`"),
            },
        };
        let all: Vec<Status> = words.iter().map(one).collect::<anyhow::Result<_>>()?;
        Ok((!all.is_empty()).then_some(Self(all)))
    }

    pub(crate) fn only(status: Status) -> Self {
        Self(vec![status])
    }

    pub(crate) fn contains(&self, status: Status) -> bool {
        self.0.contains(&status)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let name = |status: &Status| match status {
            Status::Exit(status) => status.to_string(),
            Status::Timeout => "timeout".to_owned(),
        };
        self.0.iter().map(name).collect()
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(" or "))
    }
}

impl Check {
    /// Runs the command for a model and waits for its end.
    ///
    /// # Errors
    /// It cannot be started, or the shell does not find it.
    pub(crate) fn run(&mut self, model: &Path) -> anyhow::Result<Status> {
        let text = line(&self.command, model)?;
        let mut command = shell(&text);
        command.stdin(Stdio::null());
        if self.show {
            command.stdout(std::io::stderr());
        } else {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        #[cfg(unix)]
        if self.timeout.is_some() {
            // So that what it started can be stopped with it.
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        let mut child = command.spawn().context("cannot start the shell")?;
        let status = match self.timeout {
            Some(timeout) => match wait(&mut child, timeout)? {
                Some(status) => status,
                None => return Ok(Status::Timeout),
            },
            None => child.wait().context("cannot wait for the check")?,
        };
        let status = match status.code() {
            Some(code) => code,
            None => 128 + signal(status),
        };
        if status == 126 || status == 127 {
            bail!("the shell cannot run the check (status {status}): {text}");
        }
        Ok(Status::Exit(status))
    }
}

/// The command with the path of the model in it.
fn line(command: &str, model: &Path) -> anyhow::Result<String> {
    let path = model.to_str();
    let path = path.with_context(|| format!("`{}` is not UTF-8", model.display()))?;
    let quoted = match cfg!(windows) {
        true => format!("\"{path}\""),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    };
    Ok(match command.contains("{}") {
        true => command.replace("{}", &quoted),
        false => format!("{command} {quoted}"),
    })
}

#[cfg(not(windows))]
fn shell(text: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", text]);
    command
}

#[cfg(windows)]
fn shell(text: &str) -> Command {
    let mut command = Command::new("cmd");
    std::os::windows::process::CommandExt::raw_arg(&mut command, format!("/C \"{text}\""));
    command
}

#[cfg(unix)]
fn signal(status: std::process::ExitStatus) -> i32 {
    std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0)
}

#[cfg(not(unix))]
fn signal(_: std::process::ExitStatus) -> i32 {
    0
}

/// Waits so long; `None` when the child had to be stopped.
fn wait(child: &mut Child, timeout: Duration) -> anyhow::Result<Option<std::process::ExitStatus>> {
    let end = Instant::now() + timeout;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the check")? {
            return Ok(Some(status));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            stop(child);
            let _ = child.wait();
            return Ok(None);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Stops a child and what it started.
fn stop(child: &mut Child) {
    #[cfg(unix)]
    {
        let group = format!("-{}", child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
    }
    let _ = child.kill();
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn run(command: &str, timeout: Option<u64>) -> anyhow::Result<Status> {
        let mut check = Check {
            command: command.to_owned(),
            timeout: timeout.map(Duration::from_millis),
            show: false,
        };
        check.run(Path::new("/a model's/path.mlpackage"))
    }

    #[test]
    fn ends_are_told_apart() {
        assert_eq!(run("true", None).unwrap(), Status::Exit(0));
        assert_eq!(run("exit 3 #", None).unwrap(), Status::Exit(3));
        assert_eq!(run("kill -9 $$ #", None).unwrap(), Status::Exit(137));
        let path = "test {} = \"/a model's/path.mlpackage\"";
        assert_eq!(run(path, None).unwrap(), Status::Exit(0));
        let last = "f() { test \"$1\" = \"/a model's/path.mlpackage\"; }; f";
        assert_eq!(run(last, Some(10_000)).unwrap(), Status::Exit(0));
        let started = Instant::now();
        assert_eq!(
            run("sleep 60 | sleep 60 #", Some(100)).unwrap(),
            Status::Timeout
        );
        assert!(started.elapsed() < Duration::from_secs(30));
        let said = run("no-such-command-anywhere", None)
            .unwrap_err()
            .to_string();
        assert!(said.contains("127"), "{said}");
        assert!(Statuses::parse(&["timeout".to_owned(), "256".to_owned()]).is_err());
    }
}
