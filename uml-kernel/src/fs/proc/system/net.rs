//! /proc/net: the guest's own network, interface by interface and socket by socket.

use crate::fs::proc::source::{NetTable, System};
use std::fmt::Write as _;

/// Name and what makes the text; all are readable by everyone.
pub(in crate::fs::proc) const FILES: &[(&str, super::Make)] = &[
    ("arp", |s| table(s, NetTable::Arp)),
    ("dev", dev),
    ("if_inet6", |s| table(s, NetTable::IfInet6)),
    ("netlink", |s| table(s, NetTable::Netlink)),
    ("netstat", |_| counters(NETSTAT)),
    ("packet", |s| table(s, NetTable::Packet)),
    ("protocols", |_| PROTOCOLS.into()),
    ("raw", |s| table(s, NetTable::Raw)),
    ("raw6", |s| table(s, NetTable::Raw6)),
    ("route", |s| table(s, NetTable::Route)),
    ("snmp", |_| counters(SNMP)),
    ("snmp6", |_| String::new()),
    ("sockstat", |s| sockstat(s, false)),
    ("sockstat6", |s| sockstat(s, true)),
    ("tcp", |s| table(s, NetTable::Tcp)),
    ("tcp6", |s| table(s, NetTable::Tcp6)),
    ("udp", |s| table(s, NetTable::Udp)),
    ("udp6", |s| table(s, NetTable::Udp6)),
    ("unix", |s| table(s, NetTable::Unix)),
];

const HEAD6: &str = concat!(
    "  sl  local_address                         remote_address                        st tx_queue rx_queue tr ",
    "tm->when retrnsmt   uid  timeout inode"
);

/// Lines of IPv4 tables are padded: 149 columns of TCP, 127 of UDP and routes, all before the newline.
fn head(which: NetTable) -> String {
    let line =
        "sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
    match which {
        NetTable::Arp => {
            "IP address       HW type     Flags       HW address            Mask     Device".into()
        }
        NetTable::IfInet6 => String::new(),
        NetTable::Netlink => {
            "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode".into()
        }
        NetTable::Packet => "sk               RefCnt Type Proto  Iface R Rmem   User   Inode".into(),
        NetTable::Raw => format!("  {line} ref pointer drops"),
        NetTable::Raw6 | NetTable::Udp6 => format!("{HEAD6} ref pointer drops"),
        NetTable::Route => {
            let names = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
            format!("{names:<127}")
        }
        NetTable::Tcp => format!("{:<149}", format!("  {line}")),
        NetTable::Tcp6 => HEAD6.into(),
        NetTable::Udp => format!("{:<127}", format!("   {line} ref pointer drops")),
        NetTable::Unix => "Num       RefCount Protocol Flags    Type St Inode Path".into(),
    }
}

fn table(system: &dyn System, which: NetTable) -> String {
    let head = head(which);
    let newline = if head.is_empty() { "" } else { "\n" };
    format!("{head}{newline}{}", system.net_table(which))
}

fn dev(system: &dyn System) -> String {
    let mut out = String::from(concat!(
        "Inter-|   Receive                                                |  Transmit\n",
        " face |bytes    packets errs drop fifo frame compressed multicast|",
        "bytes    packets errs drop fifo colls carrier compressed\n"
    ));
    for i in system.interfaces() {
        let (r, s) = (i.received, i.sent);
        let _ = writeln!(
            out,
            "{:>6}: {:>7} {:>7} {:>4} {:>4} {:>4} {:>5} {:>10} {:>9} {:>8} {:>7} {:>4} {:>4} {:>4} {:>5} {:>7} {:>10}",
            i.name,
            r[0],
            r[1],
            r[2],
            r[3],
            r[4],
            r[5],
            r[6],
            r[7],
            s[0],
            s[1],
            s[2],
            s[3],
            s[4],
            s[5],
            s[6],
            s[7],
        );
    }
    out
}

fn sockstat(system: &dyn System, six: bool) -> String {
    let count = |which| system.net_table(which).lines().count();
    if six {
        let [tcp, udp, raw] = [NetTable::Tcp6, NetTable::Udp6, NetTable::Raw6].map(count);
        return format!(
            "TCP6: inuse {tcp}\nUDP6: inuse {udp}\nUDPLITE6: inuse 0\nRAW6: inuse {raw}\nFRAG6: inuse 0 memory 0\n"
        );
    }
    let [tcp, udp, raw] = [NetTable::Tcp, NetTable::Udp, NetTable::Raw].map(count);
    let all = [NetTable::Tcp6, NetTable::Udp6, NetTable::Raw6, NetTable::Unix, NetTable::Netlink];
    let used = tcp + udp + raw + all.map(count).iter().sum::<usize>();
    format!(
        "sockets: used {used}\nTCP: inuse {tcp} orphan 0 tw 0 alloc {tcp} mem 0\nUDP: inuse {udp} mem 0\nUDPLITE: inuse 0\n\
         RAW: inuse {raw}\nFRAG: inuse 0 memory 0\n"
    )
}

/// Groups of counters: the name, the counters, and the values of those that are not zero, by position.
type Group = (&'static str, &'static str, &'static [(usize, &'static str)]);

const SNMP: &[Group] = &[
    (
        "Ip",
        "Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests \
         OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits",
        &[(0, "2"), (1, "64")],
    ),
    (
        "Icmp",
        "InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos InEchoReps \
         InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost \
         OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps \
         OutTimestampReps OutAddrMasks OutAddrMaskReps",
        &[],
    ),
    (
        "Tcp",
        "RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs \
         InErrs OutRsts InCsumErrors",
        &[(0, "1"), (1, "200"), (2, "120000"), (3, "-1")],
    ),
    (
        "Udp",
        "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors",
        &[],
    ),
    (
        "UdpLite",
        "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors",
        &[],
    ),
];

const NETSTAT: &[Group] = &[
    (
        "TcpExt",
        "SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts PruneCalled RcvPruned OfoPruned OutOfWindowIcmps \
         LockDroppedIcmps ArpFilter TW TWRecycled TWKilled DelayedACKs DelayedACKLocked DelayedACKLost ListenOverflows ListenDrops \
         TCPHPHits TCPPureAcks TCPHPAcks TCPTimeouts TCPAbortOnData TCPAbortOnClose TCPAbortOnMemory TCPAbortOnTimeout \
         TCPAbortOnLinger TCPAbortFailed TCPKeepAlive TCPOrigDataSent TCPDelivered",
        &[],
    ),
    (
        "IpExt",
        "InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets OutOctets InMcastOctets \
         OutMcastOctets InBcastOctets OutBcastOctets InCsumErrors InNoECTPkts InECT1Pkts InECT0Pkts InCEPkts ReasmOverlaps",
        &[],
    ),
];

fn counters(groups: &[Group]) -> String {
    let mut out = String::new();
    for (name, counters, values) in groups {
        let _ = write!(out, "{name}: {counters}\n{name}:");
        for n in 0..counters.split(' ').count() {
            let value = values.iter().find(|(at, _)| *at == n).map_or("0", |(_, v)| v);
            let _ = write!(out, " {value}");
        }
        out.push('\n');
    }
    out
}

const PROTOCOLS: &str = concat!(
    "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n",
    "RAW       1152      0      -1   NI       0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  y  y  y  y  n  n\n",
    "UDP       1344      0       0   NI       0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  n  n  y  y  y  n\n",
    "TCP       2304      0       0   no     192   yes  kernel      y  y  y  y  y  y  y  y  y  y  y  y  n  y  y  y  y  y\n",
    "UNIX      1152      0      -1   NI       0   yes  kernel      y  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n\n",
    "NETLINK   1096      0      -1   NI       0   no   kernel      n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n\n",
);
