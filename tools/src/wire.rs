// SPDX-License-Identifier: GPL-2.0

//! Sends numbered frames to an emulated NIC while the VM wants them, and notes when, in host time.
//!
//! The program in the VM that looks at what arrived is `vfio_pci_liveupdate_witness_test`.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::serial;

/// Time between two looks at what the VM wants, while it wants nothing.
const IDLE: Duration = Duration::from_millis(5);

/// The most frames per second.
const MOST: u32 = 1000;

/// The smallest frame that Ethernet knows, without its checksum.
const FRAME_LEN: usize = 60;

/// The length that QEMU wants before each frame of a stream.
const PREFIX_LEN: usize = 4;

/// What the VM says, with a number behind it, to have as many frames sent per second.
const FEED: &str = "LU-FEED ";

/// One time that a frame was to be sent. Those that were are numbered from 0 on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attempt {
    /// Host time in seconds since the epoch, just before.
    pub at: f64,
    /// Whether the wire took the frame. If not, sending would have had to wait: QEMU does not read
    /// frames for a NIC that cannot receive.
    pub sent: bool,
}

/// A thread that sends frames over one wire.
pub struct Sender {
    rate: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Attempt>>,
}

impl Sender {
    /// Waits to be told to send over `wire`, at whose other end is a NIC. Frames of the wires of a
    /// machine differ by their `index`.
    pub fn start(mut wire: UnixStream, index: u8) -> Result<Self> {
        // The clock must not stop for a NIC that cannot receive.
        wire.set_nonblocking(true)?;
        let (rate, stop) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let (wanted, is_over) = (Arc::clone(&rate), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut attempts = Vec::new();
            let (mut number, mut due) = (0, Instant::now());
            while !is_over.load(Ordering::Relaxed) {
                let rate = wanted.load(Ordering::Relaxed);
                if rate > 0 {
                    let at = serial::now();
                    // The socket takes a short message as a whole, or not at all.
                    let sent = matches!(wire.write(&packet(index, number)), Ok(PACKET_LEN));
                    attempts.push(Attempt { at, sent });
                    number += u64::from(sent);
                }
                // One that comes late is not followed by others at once.
                let interval = Duration::from_secs(1).checked_div(rate).unwrap_or(IDLE);
                due = (due + interval).max(Instant::now());
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            attempts
        });
        Ok(Self { rate, stop, thread })
    }

    /// Does what a line of the VM says, if it is for senders.
    pub fn take(&self, line: &str) {
        if let Some(rate) = line.strip_prefix(FEED) {
            self.rate.store(rate.parse().map_or(0, |rate: u32| rate.min(MOST)), Ordering::Relaxed);
        }
    }

    /// Stops, and gives what was done.
    pub fn finish(self) -> Vec<Attempt> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// A frame, and what comes before it.
const PACKET_LEN: usize = PREFIX_LEN + FRAME_LEN;

/// The number of the frame of a wire that these bytes begin with, if it is one as far as they go.
pub fn number_of(wire: u8, bytes: &[u8]) -> Option<u64> {
    let number = u64::from_be_bytes(*bytes.strip_prefix(&header(wire)[..])?.first_chunk()?);
    let frame = &packet(wire, number)[PREFIX_LEN..];
    let length = frame.len().min(bytes.len());
    (bytes[..length] == frame[..length]).then_some(number)
}

/// What a frame of a wire begins with: addresses and type.
fn header(wire: u8) -> [u8; 14] {
    [0x02, b'l', b'u', 0, 0, 2, 0x02, b'l', b'u', 0, wire, 1, 0x88, 0xb5]
}

/// Frame `number` as the program in the VM knows it, with QEMU's length before it.
fn packet(wire: u8, number: u64) -> [u8; PACKET_LEN] {
    let mut packet = [0; PACKET_LEN];
    let (prefix, frame) = packet.split_at_mut(PREFIX_LEN);
    prefix.copy_from_slice(&(FRAME_LEN as u32).to_be_bytes());
    frame[..14].copy_from_slice(&header(wire));
    frame[14..22].copy_from_slice(&number.to_be_bytes());
    for (index, byte) in frame.iter_mut().enumerate().skip(22) {
        *byte = (number as u8).wrapping_add(index as u8);
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn packet_has_its_length_its_wire_and_its_number() {
        let packet = packet(1, 0x1234);
        assert_eq!(packet[..4], [0, 0, 0, 60]);
        assert_eq!(packet[10..16], [0x02, b'l', b'u', 0, 1, 1]);
        assert_eq!(packet[16..27], [0x88, 0xb5, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x34 + 22]);

        assert_eq!(number_of(1, &packet[4..]), Some(0x1234));
        assert_eq!(number_of(1, &packet[4..30]), Some(0x1234));
        assert_eq!(number_of(0, &packet[4..]), None);
        // Memory that begins like one is none.
        let mut other = packet;
        other[40] ^= 1;
        assert_eq!(number_of(1, &other[4..]), None);
    }

    #[test]
    fn frames_are_sent_while_they_are_wanted_and_numbered_without_gaps() -> Result<()> {
        let (ours, mut nic) = UnixStream::pair()?;
        let sender = Sender::start(ours, 0)?;
        sender.take("LU-FEED 200");
        let mut bytes = [0; 3 * PACKET_LEN];
        nic.read_exact(&mut bytes)?;
        sender.take("LU-FEED 0");
        let numbers: Vec<u8> = bytes.chunks(PACKET_LEN).map(|packet| packet[25]).collect();
        assert_eq!(numbers, [0, 1, 2]);
        let attempts = sender.finish();
        assert!(attempts.len() >= 3 && attempts.iter().all(|attempt| attempt.sent));
        Ok(())
    }

    #[test]
    fn nobody_is_sent_anything_without_asking() -> Result<()> {
        let (ours, _nic) = UnixStream::pair()?;
        let sender = Sender::start(ours, 0)?;
        sender.take("LU-FEEDING 200");
        sender.take("LU-FEED no");
        thread::sleep(4 * IDLE);
        assert_eq!(sender.finish(), []);
        Ok(())
    }

    #[test]
    fn full_wire_is_noted_and_takes_no_number() -> Result<()> {
        let (mut ours, mut nic) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        while ours.write(&[0; PACKET_LEN]).is_ok() {}
        let sender = Sender::start(ours.try_clone()?, 0)?;
        sender.take("LU-FEED 200");
        thread::sleep(100 * IDLE);
        ours.set_nonblocking(false)?;
        let (mut all, mut chunk) = (Vec::new(), [0; 1 << 16]);
        while !all.windows(2).any(|two| two == [0x88, 0xb5]) {
            let length = nic.read(&mut chunk)?;
            all.extend_from_slice(&chunk[..length]);
        }
        let attempts = sender.finish();
        assert!(!attempts[0].sent && attempts.iter().any(|attempt| attempt.sent));
        let at = all.windows(2).position(|two| two == [0x88, 0xb5]).unwrap_or_default();
        assert_eq!(all[at + 2..at + 10], [0; 8]);
        Ok(())
    }
}
