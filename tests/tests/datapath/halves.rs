//! What if one direction of a flow is lost? The other one enters it again soon.

use anyhow::{Context as _, Result, ensure};
use lb_common::layout::FLOW_REPLY;
use lb_tests::packet::{ACK, Packet, SYN};
use lb_tests::topology::Family;
use lb_tests::{leftovers, need};
use lb_userspace::dataplane::kernel::KernelTables;

use super::flood::World;

/// A flow that is never quiet looks after its other direction with every so many packets.
const PACKETS: usize = 64;

/// Deletes the entries of one direction.
fn lose(tables: &KernelTables, family: Family, replies: bool) -> Result<()> {
    let is_lost = |flags: u16| (flags & FLOW_REPLY != 0) == replies;
    let mut lost = 0;
    match family {
        Family::V4 => {
            for (key, flow) in tables.v4.flows(usize::MAX)? {
                if is_lost(flow.flags) {
                    tables.v4.delete_flow(&key)?;
                    lost += 1;
                }
            }
        }
        Family::V6 => {
            for (key, flow) in tables.v6.flows(usize::MAX)? {
                if is_lost(flow.flags) {
                    tables.v6.delete_flow(&key)?;
                    lost += 1;
                }
            }
        }
    }
    ensure!(lost == 1, "{lost} entries were there");
    Ok(())
}

#[test]
fn a_direction_that_was_lost_is_entered_again_by_the_other() -> Result<()> {
    need::root();
    for family in Family::ALL {
        for replies in [true, false] {
            let mut world = World::new(family, 256)?;
            let pins = leftovers::pin_dir("halves")?;
            let tables = world.kernel.pin(pins.path())?;
            let (client, vip) = (world.kept(0), world.vip());
            let backend = world.send(&Packet::tcp(client, vip, SYN))?;
            let backend = backend.context("the flow did not begin")?;
            let (question, answer) = (
                Packet::tcp(client, vip, ACK),
                Packet::tcp(backend, client, ACK),
            );
            ensure!(world.answer(&Packet::tcp(backend, client, SYN | ACK))?);
            lose(&tables, family, replies)?;
            if replies {
                ensure!(
                    !world.answer(&answer)?,
                    "{family}: the entry is still there"
                );
            }
            for i in 0..PACKETS {
                let goes_on = if replies {
                    world.send(&question)? == Some(backend)
                } else {
                    world.answer(&answer)?
                };
                ensure!(goes_on, "{family}: packet {i} of the other direction");
            }
            ensure!(
                world.send(&question)? == Some(backend),
                "{family}: questions"
            );
            ensure!(world.answer(&answer)?, "{family}: answers");
        }
    }
    Ok(())
}
