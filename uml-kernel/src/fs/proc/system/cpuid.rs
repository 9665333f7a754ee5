//! What the processor tells about itself, in the words of Linux (arch/x86/include/asm/cpufeatures.h).

use std::sync::OnceLock;

/// The processor.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) vendor: String,
    pub(super) family: u32,
    pub(super) model: u32,
    pub(super) stepping: u32,
    pub(super) name: String,
    pub(super) khz: u64,
    pub(super) level: u32,
    pub(super) flags: Vec<&'static str>,
    pub(super) clflush: u32,
    pub(super) physical_bits: u32,
    pub(super) virtual_bits: u32,
}

/// Asked once.
pub(super) fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(ask)
}

/// EAX, EBX, ECX, EDX.
type Registers = [u32; 4];

fn leaf(leaf: u32, sub: u32) -> Registers {
    let r = std::arch::x86_64::__cpuid_count(leaf, sub);
    [r.eax, r.ebx, r.ecx, r.edx]
}

fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).trim().into()
}

fn ask() -> Model {
    let [level, b, c, d] = leaf(0, 0);
    let [signature, misc, ..] = leaf(1, 0);
    let extended = leaf(0x8000_0000, 0)[0];
    let or_zero = |n: u32| if n <= extended { leaf(n, 0) } else { [0; 4] };
    let (family, model) = family_and_model(signature);
    let sizes = or_zero(0x8000_0008)[0];
    let name: Vec<u32> = (0x8000_0002..=0x8000_0004).flat_map(or_zero).collect();
    Model {
        vendor: text(&[b, d, c]),
        family,
        model,
        stepping: signature & 15,
        name: text(&name),
        khz: khz(level),
        level,
        flags: flags(level, extended),
        clflush: (misc >> 8 & 255) * 8,
        physical_bits: sizes & 255,
        virtual_bits: sizes >> 8 & 255,
    }
}

fn family_and_model(signature: u32) -> (u32, u32) {
    let family = signature >> 8 & 15;
    let model = signature >> 4 & 15;
    let high = signature >> 16 & 15;
    match family {
        15 => (15 + (signature >> 20 & 255), model | high << 4),
        6 => (6, model | high << 4),
        _ => (family, model),
    }
}

/// The frequency: from leaf 0x16 (MHz), the crystal's leaf 0x15, or the hypervisor's 0x40000010 (kHz); 1 GHz if none tells.
fn khz(level: u32) -> u64 {
    if level >= 0x15 {
        let [denominator, numerator, crystal, _] = leaf(0x15, 0);
        if denominator != 0 && numerator != 0 && crystal != 0 {
            return u64::from(crystal) * u64::from(numerator) / u64::from(denominator) / 1000;
        }
    }
    if level >= 0x16 && leaf(0x16, 0)[0] & 0xffff != 0 {
        return u64::from(leaf(0x16, 0)[0] & 0xffff) * 1000;
    }
    let under_hypervisor = leaf(1, 0)[2] >> 31 == 1;
    if under_hypervisor && leaf(0x4000_0000, 0)[0] >= 0x4000_0010 {
        let told = leaf(0x4000_0010, 0)[0];
        if told != 0 {
            return told.into();
        }
    }
    1_000_000
}

/// Where a word of flags is found: leaf, sub-leaf, register (0 EAX to 3 EDX), and names by bit, "-" for those without.
type Word = (u32, u32, usize, &'static str);

/// In the order in which Linux lists them.
const WORDS: &[Word] = &[
    (
        1,
        0,
        3,
        "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe",
    ),
    (
        0x8000_0001,
        0,
        3,
        "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow",
    ),
    (
        1,
        0,
        2,
        "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor",
    ),
    (
        0x8000_0001,
        0,
        2,
        "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx - -",
    ),
    (
        7,
        0,
        1,
        "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl",
    ),
    (0xd, 1, 0, "xsaveopt xsavec xgetbv1 xsaves xfd"),
    (
        7,
        1,
        0,
        "sha512 sm3 sm4 - avx_vnni avx512_bf16 - cmpccxadd - - fzrm fsrs fsrc - - - - - - - - amx_fp16 - avx_ifma - - lam",
    ),
    (0x8000_0008, 0, 1, "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd"),
    (
        7,
        0,
        2,
        "- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq - la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd",
    ),
    (
        7,
        0,
        3,
        "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 - - flush_l1d arch_capabilities",
    ),
];

fn flags(level: u32, extended: u32) -> Vec<&'static str> {
    let mut all = Vec::new();
    for (n, sub, register, names) in WORDS {
        let there = if *n >= 0x8000_0000 { *n <= extended } else { *n <= level };
        let word = if there { leaf(*n, *sub)[*register] } else { 0 };
        let set = names.split(' ').enumerate().filter(|(bit, name)| *name != "-" && word >> bit & 1 == 1);
        all.extend(set.map(|(_, name)| name));
    }
    all
}
