// SPDX-License-Identifier: GPL-2.0

//! Feeds Ethernet frames into an emulated NIC, in host time: while one kernel
//! runs, while the next boots, and while none does.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::serial;

/// Time between two frames: 200 per second.
const INTERVAL: Duration = Duration::from_millis(5);

/// The smallest frame that Ethernet knows, without its checksum.
const FRAME_LEN: usize = 60;

/// A running feeder.
pub struct Feeder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<f64>>,
}

impl Feeder {
    /// Starts to feed the NIC that listens on `nic`; `own` is our end.
    pub fn start(own: &PathBuf, nic: PathBuf) -> Result<Self> {
        let socket =
            UnixDatagram::bind(own).with_context(|| format!("binding {}", own.display()))?;
        // A NIC that cannot receive makes QEMU leave frames in the socket; a
        // full one must not stop the clock.
        socket.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut offered = Vec::new();
            while !told.load(Ordering::Relaxed) {
                match socket.send_to(&frame(offered.len()), &nic) {
                    Err(error) if error.kind() != ErrorKind::WouldBlock => {}
                    _ => offered.push(serial::now()),
                }
                thread::sleep(INTERVAL);
            }
            offered
        });
        Ok(Self { stop, thread })
    }

    /// Stops and gives the host times at which a frame was there to be received:
    /// sent just then, or waiting in the full socket.
    pub fn finish(self) -> Vec<f64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// A broadcast frame of the EtherType for local experiments, with its number in it.
fn frame(number: usize) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14..22].copy_from_slice(&(number as u64).to_be_bytes());
    frame
}
