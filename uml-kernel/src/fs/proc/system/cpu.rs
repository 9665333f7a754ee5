//! /proc/cpuinfo: the host's processor, as its CPUID instruction tells, once for each vCPU.

use super::cpuid;
use crate::fs::proc::source::System;
use std::fmt::Write as _;

/// Fields that are not known (microcode, cache, bugs of the hardware) are given as Linux gives them in virtual machines: not at all.
pub(super) fn cpuinfo(system: &dyn System) -> String {
    let cpus = system.cpu_times().len();
    let model = cpuid::model();
    let mut out = String::new();
    for n in 0..cpus {
        let _ = write!(
            out,
            "processor\t: {n}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: {}\nstepping\t: {}\n\
             cpu MHz\t\t: {}.{:03}\nphysical id\t: 0\nsiblings\t: {cpus}\ncore id\t\t: {n}\ncpu cores\t: {cpus}\napicid\t\t: {n}\n\
             initial apicid\t: {n}\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: {}\nwp\t\t: yes\nflags\t\t: {}\nbugs\t\t:\n\
             bogomips\t: {}.{:02}\nclflush size\t: {}\ncache_alignment\t: {}\naddress sizes\t: {} bits physical, {} bits virtual\n\
             power management:\n\n",
            model.vendor,
            model.family,
            model.model,
            model.name,
            model.stepping,
            model.khz / 1000,
            model.khz % 1000,
            model.level,
            model.flags.join(" "),
            model.khz / 500,
            model.khz / 5 % 100,
            model.clflush,
            model.clflush,
            model.physical_bits,
            model.virtual_bits,
        );
    }
    out
}
