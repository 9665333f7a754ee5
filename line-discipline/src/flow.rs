//! Stopping and starting output: VSTOP and VSTART, TCXONC, and when input is to pause; `termios(3)`, `tcflow(3)`.

use crate::discipline::LineDiscipline;
use crate::effects::{Effects, PacketStatus};
use crate::flags::*;

/// Senders are to pause when fewer bytes than this are free (`TTY_THRESHOLD_THROTTLE`).
const THRESHOLD: usize = 128;

/// The state of flow control.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    /// Output is stopped.
    pub(crate) stopped: bool,
    /// It was TCOOFF that stopped it: only TCOON starts it.
    pub(crate) held: bool,
    /// Of the bytes received next, so many have had their flow control done by [`LineDiscipline::look_ahead`].
    pub(crate) looked_ahead: usize,
}

/// What TCXONC asks for: `ioctl_tty(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowAction {
    /// TCOOFF: stop output.
    OutputOff = 0,
    /// TCOON: start output that TCOOFF stopped.
    OutputOn = 1,
    /// TCIOFF: send VSTOP.
    InputOff = 2,
    /// TCION: send VSTART.
    InputOn = 3,
}

impl FlowAction {
    /// The argument of TCXONC; `None` is EINVAL.
    pub fn from_raw(raw: u64) -> Option<Self> {
        Some(match raw {
            0 => FlowAction::OutputOff,
            1 => FlowAction::OutputOn,
            2 => FlowAction::InputOff,
            3 => FlowAction::InputOn,
            _ => return None,
        })
    }
}

impl LineDiscipline {
    /// TCXONC. Echo that waits comes with the next write or input, as on Linux.
    pub fn flow(&mut self, action: FlowAction, effects: &mut Effects) {
        match action {
            FlowAction::OutputOff if !self.flow.held => {
                self.flow.held = true;
                self.stop_output(effects);
            }
            FlowAction::OutputOn if self.flow.held => {
                self.flow.held = false;
                self.start_output(effects);
            }
            FlowAction::OutputOff | FlowAction::OutputOn => {}
            FlowAction::InputOff => self.send_flow_character(self.cc(VSTOP), effects),
            FlowAction::InputOn => self.send_flow_character(self.cc(VSTART), effects),
        }
    }

    /// Whether output is stopped, and [`LineDiscipline::write`] takes nothing.
    pub fn output_stopped(&self) -> bool {
        self.flow.stopped
    }

    /// Does the flow control of bytes that cannot be received yet, as the input queue is full: `^Q` must not stand
    /// behind it. `bytes` are those that [`LineDiscipline::receive`] refused, each shown once; they are to be received
    /// later all the same.
    pub fn look_ahead(&mut self, bytes: &[u8], effects: &mut Effects) {
        self.flow.looked_ahead += bytes.len();
        if self.termios.i(IXON) {
            for &byte in bytes {
                if self.is_flow_character(byte) {
                    self.obey_flow_character(byte, effects);
                }
            }
        }
    }

    /// Whether a driver should hold its sender back: with IXOFF by sending VSTOP, with CRTSCTS by RTS. Never while an
    /// unfinished line fills the queue, or its end would not come.
    pub fn wants_throttle(&self) -> bool {
        let unfinished = self.termios.l(ICANON) && !self.input.has_line();
        !unfinished && crate::INPUT_CAPACITY - self.input.len().min(crate::INPUT_CAPACITY) < THRESHOLD
    }

    /// Whether input was refused and nothing was read since: offer the rest when this is false again.
    pub fn throttled(&self) -> bool {
        self.refused
    }

    pub(crate) fn is_flow_character(&self, byte: u8) -> bool {
        byte == self.cc(VSTART) || byte == self.cc(VSTOP)
    }

    pub(crate) fn obey_flow_character(&mut self, byte: u8, effects: &mut Effects) {
        if byte == self.cc(VSTART) {
            self.restart_output(effects);
        } else {
            self.stop_output(effects);
        }
    }

    /// Starts output on any character, by IXANY.
    pub(crate) fn start_on_any(&mut self, effects: &mut Effects) {
        if self.flow.stopped && !self.flow.held && self.termios.i(IXON | IXANY) {
            self.restart_output(effects);
        }
    }

    /// Starts output, echo first.
    pub(crate) fn restart_output(&mut self, effects: &mut Effects) {
        self.start_output(effects);
        self.send_marked_echo(&mut effects.output);
    }

    pub(crate) fn start_output(&mut self, effects: &mut Effects) {
        if self.flow.stopped && !self.flow.held {
            self.flow.stopped = false;
            effects.packet.note(PacketStatus::START);
            effects.writable = true;
        }
    }

    fn stop_output(&mut self, effects: &mut Effects) {
        if !self.flow.stopped {
            self.flow.stopped = true;
            effects.packet.note(PacketStatus::STOP);
        }
    }

    /// Sends VSTOP or VSTART to the other side, past output that `^S` stopped, though not past TCOOFF.
    fn send_flow_character(&mut self, byte: u8, effects: &mut Effects) {
        if byte == DISABLED {
            return;
        }
        let was_stopped = self.flow.stopped;
        self.start_output(effects);
        if !self.flow.stopped {
            effects.output.push(byte);
        }
        if was_stopped {
            self.stop_output(effects);
        }
    }
}
