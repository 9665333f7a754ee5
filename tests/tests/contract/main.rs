//! What every program promises, whatever it does: tested once, for all, from one table.

mod command_lines;
mod full_disk;
mod inputs;
mod outputs;
