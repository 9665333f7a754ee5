//! /proc/meminfo, vmstat, zoneinfo, buddyinfo, slabinfo.

use crate::fs::proc::source::System;
use std::fmt::Write as _;

const PAGE: u64 = 4096;

/// Without slabs there is only the head of the table.
pub(super) const SLABINFO: &str = concat!(
    "slabinfo - version: 2.1\n",
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> ",
    "<batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
);

/// The columns are those of swap_show in mm/swapfile.c.
pub(super) fn swaps(system: &dyn System) -> String {
    let mut text = String::from("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    for swap in system.swaps() {
        let mut name = String::new();
        for byte in &swap.name {
            match byte {
                b' ' | b'\t' | b'\n' | b'\\' => name += &format!("\\{byte:03o}"),
                _ => name.push(char::from(*byte)),
            }
        }
        let gap = 40usize.checked_sub(name.len()).unwrap_or(1).max(1);
        let kind = if swap.file { "file\t" } else { "partition" };
        let (size, used) = (swap.size >> 10, swap.used >> 10);
        let tab = |n: u64| if n < 10_000_000 { "\t" } else { "" };
        let (after_size, after_used) = (tab(size), tab(used));
        let _ = writeln!(
            text,
            "{name}{:gap$}{kind}\t{size}\t{after_size}{used}\t{after_used}{}",
            " ", swap.priority
        );
    }
    text
}

/// The keys and their order are those of Linux 6.18 with swap, huge pages and memory cgroups configured.
pub(super) fn meminfo(system: &dyn System) -> String {
    let m = system.memory();
    let file = m.cached.saturating_sub(m.shmem) + m.buffers;
    let anon = m.anonymous + m.shmem;
    // Nobody keeps an order of use: all of a kind counts as active, but the half of the files.
    let lines = [
        ("MemTotal", m.total),
        ("MemFree", m.free),
        ("MemAvailable", m.available),
        ("Buffers", m.buffers),
        ("Cached", m.cached),
        ("SwapCached", 0),
        ("Active", anon + file / 2),
        ("Inactive", file - file / 2),
        ("Active(anon)", anon),
        ("Inactive(anon)", 0),
        ("Active(file)", file / 2),
        ("Inactive(file)", file - file / 2),
        ("Unevictable", m.locked),
        ("Mlocked", m.locked),
        ("SwapTotal", m.swap_total),
        ("SwapFree", m.swap_free),
        ("Zswap", 0),
        ("Zswapped", 0),
        ("Dirty", m.dirty),
        ("Writeback", m.writeback),
        ("AnonPages", m.anonymous),
        ("Mapped", m.mapped),
        ("Shmem", m.shmem),
        ("KReclaimable", m.slab),
        ("Slab", m.slab),
        ("SReclaimable", m.slab),
        ("SUnreclaim", 0),
        ("KernelStack", m.kernel_stacks),
        ("PageTables", m.page_tables),
        ("SecPageTables", 0),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", m.commit_limit),
        ("Committed_AS", m.committed),
        ("VmallocTotal", 34359738367 << 10),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
        ("Percpu", 0),
        ("AnonHugePages", 0),
        ("ShmemHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FileHugePages", 0),
        ("FilePmdMapped", 0),
        ("Balloon", 0),
    ];
    let mut out = String::new();
    for (name, bytes) in lines {
        // 16 columns for the name, 8 for the number; "Percpu" and the like are padded all the same.
        let _ = writeln!(out, "{:<16}{:>8} kB", format!("{name}:"), bytes >> 10);
    }
    for name in ["HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp"] {
        let _ = writeln!(out, "{:<16}{:>8}", format!("{name}:"), 0);
    }
    let _ = write!(out, "Hugepagesize:       2048 kB\nHugetlb:        {:>8} kB\n", 0);
    let _ = write!(out, "DirectMap4k:    {:>8} kB\nDirectMap2M:    {:>8} kB\n", m.total >> 10, 0);
    out
}

/// The counters that programs look for (vmstat(8), free(1), sar(1), oomd), with the others of Linux left out.
pub(super) fn vmstat(system: &dyn System) -> String {
    let (m, c) = (system.memory(), system.counters());
    let file = m.cached.saturating_sub(m.shmem) + m.buffers;
    let lines = [
        ("nr_free_pages", m.free / PAGE),
        ("nr_zone_inactive_anon", 0),
        ("nr_zone_active_anon", (m.anonymous + m.shmem) / PAGE),
        ("nr_zone_inactive_file", (file - file / 2) / PAGE),
        ("nr_zone_active_file", file / 2 / PAGE),
        ("nr_zone_unevictable", m.locked / PAGE),
        ("nr_zone_write_pending", m.dirty / PAGE),
        ("nr_mlock", m.locked / PAGE),
        ("nr_inactive_anon", 0),
        ("nr_active_anon", (m.anonymous + m.shmem) / PAGE),
        ("nr_inactive_file", (file - file / 2) / PAGE),
        ("nr_active_file", file / 2 / PAGE),
        ("nr_unevictable", m.locked / PAGE),
        ("nr_slab_reclaimable", m.slab / PAGE),
        ("nr_slab_unreclaimable", 0),
        ("nr_anon_pages", m.anonymous / PAGE),
        ("nr_mapped", m.mapped / PAGE),
        ("nr_file_pages", (m.cached + m.buffers) / PAGE),
        ("nr_dirty", m.dirty / PAGE),
        ("nr_writeback", m.writeback / PAGE),
        ("nr_shmem", m.shmem / PAGE),
        ("nr_kernel_stack", m.kernel_stacks >> 10),
        ("nr_page_table_pages", m.page_tables / PAGE),
        ("pgpgin", 0),
        ("pgpgout", 0),
        ("pswpin", m.swapped_in),
        ("pswpout", m.swapped_out),
        ("pgfree", 0),
        ("pgactivate", 0),
        ("pgdeactivate", 0),
        ("pgfault", c.faults),
        ("pgmajfault", c.major_faults),
        ("pgsteal_kswapd", 0),
        ("pgsteal_direct", 0),
        ("pgscan_kswapd", 0),
        ("pgscan_direct", 0),
        ("oom_kill", 0),
        ("unevictable_pgs_culled", 0),
    ];
    lines.iter().map(|(name, n)| format!("{name} {n}\n")).collect()
}

/// One node with one zone.
pub(super) fn zoneinfo(system: &dyn System) -> String {
    let m = system.memory();
    let (free, total) = (m.free / PAGE, m.total / PAGE);
    format!(
        "Node 0, zone   Normal\n  pages free     {free}\n        boost    0\n        min      {}\n        low      {}\n        \
         high     {}\n        promo    0\n        spanned  {total}\n        present  {total}\n        managed  {total}\n        \
         cma      0\n        protection: (0, 0, 0, 0)\n",
        total / 1024,
        total / 820,
        total / 683,
    )
}

/// All free memory in blocks of the largest order, 1024 pages, and the rest below, one bit an order.
pub(super) fn buddyinfo(system: &dyn System) -> String {
    let free = system.memory().free / PAGE;
    let mut out = String::from("Node 0, zone   Normal ");
    for order in 0..=10 {
        let _ = write!(out, "{:>6} ", if order == 10 { free >> 10 } else { free >> order & 1 });
    }
    out + "\n"
}
