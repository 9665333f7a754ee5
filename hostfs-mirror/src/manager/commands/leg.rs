//! `hostfs-mirror fence` and `hostfs-mirror online`

use crate::options::Leg;
use crate::registry;
use crate::socket::{Request, ask};
use anyhow::bail;
use cli_common::Outcome;

pub(crate) fn fence(o: &Leg) -> anyhow::Result<Outcome> {
    tell(o, &Request::Fence { leg: o.leg.clone() })
}

pub(crate) fn online(o: &Leg) -> anyhow::Result<Outcome> {
    tell(o, &Request::Online { leg: o.leg.clone(), rate: None })
}

fn tell(o: &Leg, request: &Request) -> anyhow::Result<Outcome> {
    let named = registry::find(&o.set)?;
    match ask(named.set, request)? {
        Some(_) => Ok(Outcome::Success),
        None => bail!("the set \"{}\" is not mounted", named.name),
    }
}
