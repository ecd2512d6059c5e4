//! osdsctl.

use std::process::ExitCode;

fn main() -> ExitCode {
    osds_ctl::main()
}
