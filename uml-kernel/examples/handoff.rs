//! Measures one intercepted system call: unpatched, patched, answered in the stub.
use std::time::Instant;
use uml_kernel::mm::UserMemory;
use uml_kernel::platform::*;

fn main() -> std::io::Result<()> {
    sys::pin(0, &[0])?;
    let platform = Platform::start()?;
    let mut t = platform.fresh(0)?;
    t.move_to(0);
    t.call(&[Op::map_anonymous(0x400000, 0x10000, 7, libc::MAP_PRIVATE)])?;
    // mov ebx, 100000; 1: mov eax, 110; syscall; dec ebx; jnz 1b; mov eax, 231; syscall
    let code = [
        0xbbu8, 0xa0, 0x86, 1, 0, 0xb8, 110, 0, 0, 0, 0x0f, 5, 0xff, 0xcb, 0x75, 0xf5, 0xb8, 231, 0, 0, 0,
        0x0f, 5,
    ];
    UserMemory::new(t.stub().pid().clone())
        .write(0x400000, &code)
        .map_err(|e| std::io::Error::from_raw_os_error(e.0))?;
    for mode in 0..4 {
        let mut patches = Patches::default();
        if mode == 2 || mode == 3 {
            t.answer(110, 1, Some(77));
        }
        let mut regs = Regs { rip: 0x400000, rsp: 0x40f000, rflags: 0x202, ..Regs::default() };
        let start = Instant::now();
        let mut n = 0;
        loop {
            t.enter(&regs);
            let Some((r, trap)) = t.wait(None, platform.sites()) else { continue };
            regs = r;
            if trap != Trap::Syscall {
                println!("{trap:x?} {regs:x?}");
                break;
            }
            if regs.rax == 231 {
                break;
            }
            n += 1;
            if mode == 1 {
                t.patch(&mut patches, regs.rip, platform.sites())?;
            }
            regs.rax = 5;
        }
        println!("mode {mode}: {n} traps, {:.0} ns a call", start.elapsed().as_nanos() as f64 / 100000.0);
        t.answer(110, 1, None);
        if mode == 2 {
            t.call(&[])?;
            UserMemory::new(t.stub().pid().clone())
                .write(0x400000, &code)
                .map_err(|e| std::io::Error::from_raw_os_error(e.0))?;
        }
    }
    let s = Instant::now();
    for _ in 0..100 {
        let f = platform.fresh(0)?;
        drop(f);
    }
    println!("fresh: {:.0} us", s.elapsed().as_micros() as f64 / 100.0);
    platform.shut_down();
    Ok(())
}
