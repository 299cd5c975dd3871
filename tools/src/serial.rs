// SPDX-License-Identifier: GPL-2.0

//! A serial port of the VM: its lines, stamped with host time as they arrive.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::stage::output;

/// One line of a serial port.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Host time in seconds since the epoch.
    pub at: f64,
    /// The line without its end.
    pub text: String,
}

/// Which serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// `ttyS0`, the kernel's.
    Console,
    /// `ttyS1`, the tests'.
    Output,
}

/// Host time in seconds since the epoch, as QEMU stamps its traces.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// Reads the pipe `fifo`, which QEMU is going to open, to its end in a thread:
/// each line goes to `log` and to `lines`.
///
/// A pipe and not a socket, because QEMU writes byte by byte: a socket is full
/// after some 280 of them, and then QEMU's serial port drops characters.
pub fn watch(fifo: PathBuf, port: Port, log: &Path, lines: Sender<(Port, Line)>) -> Result<()> {
    output(Command::new("mkfifo").arg(&fifo))?;
    let mut log = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    thread::spawn(move || -> Result<()> {
        let mut reader = BufReader::new(File::open(fifo)?);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes)? > 0 {
            let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
            bytes.clear();
            let line = Line { at: now(), text };
            writeln!(log, "{:.6} {}", line.at, line.text)?;
            lines.send((port, line))?;
        }
        Ok(())
    });
    Ok(())
}

/// The time that `PRINTK_TIME` puts before a kernel message, in seconds since that kernel began.
pub fn seconds(line: &str) -> Option<f64> {
    let (stamp, _) = line.strip_prefix('[')?.split_once(']')?;
    stamp.trim().parse().ok()
}

/// A kernel message without the time that `PRINTK_TIME` puts before it.
pub fn message(line: &str) -> &str {
    seconds(line)
        .and_then(|_| line.split_once(']'))
        .map_or(line, |(_, text)| text.strip_prefix(' ').unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::{message, seconds};

    #[test]
    fn message_loses_only_the_time() {
        assert_eq!(message("[    1.234567]     ok 1 x"), "    ok 1 x");
        assert_eq!(message("[Firmware Bug] x"), "[Firmware Bug] x");
        assert_eq!(message("plain"), "plain");
    }

    #[test]
    fn time_is_what_the_kernel_put_before_its_message() {
        assert_eq!(seconds("[    1.250000] x"), Some(1.25));
        assert_eq!(seconds("[Firmware Bug] x"), None);
        assert_eq!(seconds("plain"), None);
    }
}
