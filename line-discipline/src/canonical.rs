//! Editing the line that is being typed: ICANON; `termios(3)`, "Canonical and noncanonical mode", "Line editing".

use crate::chars;
use crate::discipline::LineDiscipline;
use crate::effects::Effects;
use crate::flags::*;

/// How far erasing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Character,
    Word,
    Line,
}

impl LineDiscipline {
    /// Does what `byte` means in a line. Says whether it means anything.
    pub(crate) fn edit(&mut self, byte: u8, effects: &mut Effects) -> bool {
        let extended = self.termios.l(IEXTEN);
        let echo = self.termios.l(ECHO);
        if byte == self.cc(VERASE) || byte == self.cc(VKILL) || byte == self.cc(VWERASE) && extended {
            self.erase(byte);
            self.mark_echo(effects);
        } else if byte == self.cc(VLNEXT) && extended {
            self.literal_next = true;
            // Without ECHOCTL this `/` is sent unmarked. Linux 6.18 then takes its mark to be a lap ahead, and with the
            // next write replays 4096 bytes of old echo. We do not: the one known difference.
            if echo {
                self.finish_erasing();
                if self.termios.l(ECHOCTL) {
                    self.echo.raw(b'^');
                    self.echo.raw(0x08);
                    self.mark_echo(effects);
                }
            }
        } else if byte == self.cc(VREPRINT) && echo && extended {
            self.reprint(byte);
            self.mark_echo(effects);
        } else if byte == b'\n' {
            if echo || self.termios.l(ECHONL) {
                self.echo.raw(byte);
                self.mark_echo(effects);
            }
            self.end_line(byte, effects);
        } else if byte == self.cc(VEOF) {
            self.end_line(DISABLED, effects);
        } else if byte == self.cc(VEOL) || byte == self.cc(VEOL2) && extended {
            if echo {
                self.echo_typed(byte);
                self.mark_echo(effects);
            }
            self.store_mark(byte);
            self.end_line(byte, effects);
        } else {
            return false;
        }
        true
    }

    fn end_line(&mut self, byte: u8, effects: &mut Effects) {
        self.input.push_line_end(byte);
        effects.readable = true;
    }

    /// Ends what ECHOPRT prints.
    pub(crate) fn finish_erasing(&mut self) {
        if std::mem::take(&mut self.erasing) {
            self.echo.raw(b'/');
        }
    }

    fn reprint(&mut self, byte: u8) {
        self.finish_erasing();
        self.echo.character(&self.termios, byte);
        self.echo.raw(b'\n');
        for position in self.input.lines_end()..self.input.head() {
            self.echo.character(&self.termios, self.input.at(position));
        }
    }

    fn erase(&mut self, byte: u8) {
        let start = self.input.lines_end();
        if self.input.head() == start {
            return;
        }
        let extent = if byte == self.cc(VERASE) {
            Extent::Character
        } else if byte == self.cc(VWERASE) {
            Extent::Word
        } else if self.termios.l(ECHO | ECHOE | ECHOK | ECHOKE) {
            Extent::Line
        } else {
            self.kill_unseen(start);
            return;
        };

        let mut in_word = false;
        while self.input.head() != start {
            let at = self.last_character(start);
            let first = self.input.at(at);
            if self.termios.is_continuation(first) {
                // Half a character is not erased.
                break;
            }
            if extent == Extent::Word {
                if chars::is_alphanumeric(first) || first == b'_' {
                    in_word = true;
                } else if in_word {
                    break;
                }
            }
            if self.termios.l(ECHO) {
                self.echo_erased(extent, at, first);
            }
            self.input.truncate(at);
            if extent == Extent::Character {
                break;
            }
        }
        if self.input.head() == start && self.termios.l(ECHO) {
            self.finish_erasing();
        }
    }

    /// VKILL where the line is not wiped.
    fn kill_unseen(&mut self, start: u64) {
        self.input.truncate(start);
        if self.termios.l(ECHO) {
            self.finish_erasing();
            self.echo.character(&self.termios, self.cc(VKILL));
            if self.termios.l(ECHOK) {
                self.echo.raw(b'\n');
            }
        }
    }

    /// Where the last character of the line begins: with IUTF8 it may be several bytes.
    fn last_character(&self, start: u64) -> u64 {
        let mut at = self.input.head() - 1;
        while at > start && self.termios.is_continuation(self.input.at(at)) {
            at -= 1;
        }
        at
    }

    /// Echoes that the character from `at` to the end of the line is gone.
    fn echo_erased(&mut self, extent: Extent, at: u64, first: u8) {
        if self.termios.l(ECHOPRT) {
            if !self.erasing {
                self.echo.raw(b'\\');
                self.erasing = true;
            }
            self.echo.character(&self.termios, first);
            for position in at + 1..self.input.head() {
                self.echo.raw(self.input.at(position));
                self.echo.step_back();
            }
        } else if extent == Extent::Character && !self.termios.l(ECHOE) {
            self.echo.character(&self.termios, self.cc(VERASE));
        } else if first == b'\t' {
            let (columns, after_tab) = self.columns_before(at);
            self.echo.erase_tab(columns, after_tab);
        } else if !chars::is_control(first) {
            self.echo.wipe();
        } else if self.termios.l(ECHOCTL) {
            self.echo.wipe();
            self.echo.wipe();
        }
    }

    /// Columns between `at` and the tab before it, or else the start of the line; and whether there is a tab.
    fn columns_before(&self, at: u64) -> (u32, bool) {
        let mut columns = 0;
        for position in (self.input.lines_end()..at).rev() {
            let byte = self.input.at(position);
            if byte == b'\t' {
                return (columns, true);
            } else if chars::is_control(byte) {
                columns += if self.termios.l(ECHOCTL) { 2 } else { 0 };
            } else if !self.termios.is_continuation(byte) {
                columns += 1;
            }
        }
        (columns, false)
    }
}
