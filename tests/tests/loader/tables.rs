//! Do the kernel's maps hold what is written, give it back, and say when they are full?

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, anyhow, bail};
use lb_common::addr::Family;
use lb_common::layout::{
    Backend, Config, Flow, FlowKey, FrontendInfo, FrontendKey, FrontendRef, Pool, RangeKey,
    ServiceName, text,
};
use lb_common::limits::LAYOUT_VERSION;
use lb_common::{Ip4, Ip6};
use lb_tests::install::{Install, SmallNode};
use lb_tests::need;
use lb_userspace::bpf::{Cursor, Map};
use lb_userspace::dataplane::kernel::KernelTables;
use lb_userspace::dataplane::{Dataplane, DataplaneError, Halt};
use lb_userspace::tables::{
    FamilyRow, FamilyRowKey, Op, PerFamily, Row, RowKey, TableDelta, Tables, diff,
};

/// One element in every map of a family.
fn fill<A: PerFamily>(tables: &mut Tables, address: A, other: A) {
    let key = FrontendKey {
        address,
        port: 80,
        protocol: 6,
        reserved: 0,
    };
    let family = A::of_mut(tables);
    family.frontends.insert(
        key,
        FrontendRef {
            info: 1,
            service_port: 1,
        },
    );
    family.info.insert(
        1,
        FrontendInfo {
            key,
            service_port: 1,
            flags: 1,
            inside: Pool {
                first: if A::BITS == Ip4::BITS { 1 } else { 4 },
                count: 2,
                flags: 0,
            },
            ..FrontendInfo::default()
        },
    );
    for id in [1, 2] {
        let backend = Backend {
            address: other,
            port: 8080,
            protocol: 6,
            service_port: 1,
            generation: id,
            ..Backend::default()
        };
        family.backends.insert(id, backend);
    }
    family.ranges.insert(RangeKey {
        prefix_length: 32 + 8,
        service_port: 1,
        network: other,
    });
    family.nodes.insert(other);
}

fn full_tables() -> Tables {
    let mut tables = Tables {
        config: Config {
            layout_version: LAYOUT_VERSION,
            hash_key: 7,
            ..Config::default()
        },
        slots: [(1, 1), (2, 2), (4, 1), (5, 2)].into(),
        ..Tables::default()
    };
    let name = ServiceName {
        namespace: text("default"),
        name: text("kubia"),
        port: 80,
        protocol: 6,
        ..ServiceName::default()
    };
    tables.services.insert(1, name.into());
    fill(
        &mut tables,
        Ip4::new(10, 43, 165, 39),
        Ip4::new(10, 0, 0, 0),
    );
    let v6 = |first: u8| {
        let mut address = Ip6::default();
        address.octets[0] = first;
        address
    };
    fill(&mut tables, v6(0xfd), v6(0x20));
    tables
}

#[test]
fn what_is_written_is_read_back_and_deleted_is_gone() -> Result<()> {
    need::root();
    let install = Install::new("tables")?;
    let node = SmallNode::new()?;
    node.netns().run(|| {
        let mut kernel = install.start()?.tables()?;
        assert_eq!(kernel.read()?, Tables::default());
        let wanted = full_tables();
        for op in diff(&Tables::default(), &wanted).ops() {
            kernel.apply(op)?;
        }
        assert_eq!(kernel.read()?, wanted);

        let emptied = Tables {
            config: wanted.config,
            ..Tables::default()
        };
        for op in diff(&wanted, &emptied).ops() {
            kernel.apply(op)?;
            // Absent is fine.
            kernel.apply(op)?;
        }
        assert_eq!(kernel.read()?, emptied);

        // The same by as few calls as there can be.
        apply_all(&mut kernel, &diff(&Tables::default(), &wanted))?;
        assert_eq!(kernel.read()?, wanted);
        for _ in 0..2 {
            apply_all(&mut kernel, &diff(&wanted, &emptied))?;
            assert_eq!(kernel.read()?, emptied);
        }
        Ok(())
    })
}

fn apply_all(kernel: &mut KernelTables, delta: &TableDelta) -> Result<()> {
    for batch in delta.batches() {
        let ops: Vec<&Op> = batch.into_iter().map(|(_, op)| op).collect();
        let outcome = kernel.apply_all(&ops);
        outcome.map_err(|halt| anyhow!("write {}: {}", halt.done, halt.error))?;
    }
    Ok(())
}

/// Absent is fine wherever it is in a batch, and elements of either kind are written in their order.
#[test]
fn a_batch_is_written_in_its_order_and_told_where_it_stops() -> Result<()> {
    need::root();
    let mut install = Install::new("batch")?;
    install.options.sizes = [("nodes4".to_owned(), 3), ("slots".to_owned(), 4)].into();
    let node = SmallNode::new()?;
    node.netns().run(|| {
        let mut kernel = install.start()?.tables()?;
        let address = |host| Ip4::new(192, 0, 2, host);
        let add = |host| Op::Update(Row::V4(FamilyRow::Node(address(host))));
        let remove = |host| Op::Delete(RowKey::V4(FamilyRowKey::Node(address(host))));
        let ops = [
            add(1),
            add(2),
            remove(9),
            remove(1),
            remove(8),
            add(3),
            // There is room, as one went before.
            add(4),
            // And now there is none, but for what is there.
            add(5),
            add(6),
            remove(2),
        ];
        let outcome = kernel.apply_all(&ops.iter().collect::<Vec<_>>());
        let Err(Halt { done, error }) = outcome else {
            bail!("there is no room");
        };
        assert_eq!(done, 7);
        assert!(error.to_string().contains("maps.nodes4"), "{error}");
        let left: BTreeSet<_> = [2, 3, 4].map(address).into();
        assert_eq!(kernel.read()?.v4.nodes, left);

        let slots: Vec<_> = (1..6).map(|i| Op::Update(Row::Slot(i, 7))).collect();
        let outcome = kernel.apply_all(&slots.iter().collect::<Vec<_>>());
        let Err(Halt { done, error }) = outcome else {
            bail!("there are only four slots");
        };
        assert_eq!(done, 3);
        assert!(matches!(error, DataplaneError::Full(_)), "{error}");
        Ok(())
    })
}

#[test]
fn a_full_map_is_told_with_the_remedy() -> Result<()> {
    need::root();
    let mut install = Install::new("full")?;
    install.options.sizes = [("nodes4".to_owned(), 2), ("slots".to_owned(), 4)].into();
    let node = SmallNode::new()?;
    node.netns().run(|| {
        let mut kernel = install.start()?.tables()?;
        assert_eq!(kernel.capacities().v4.nodes, 2);
        let address = |host| Op::Update(Row::V4(FamilyRow::Node(Ip4::new(192, 0, 2, host))));
        kernel.apply(&address(1))?;
        kernel.apply(&address(2))?;
        kernel.apply(&address(2))?;
        for (refused, remedy) in [
            (address(3), "maps.nodes4"),
            (Op::Update(Row::Slot(4, 1)), "maps.slots"),
        ] {
            match kernel.apply(&refused) {
                Err(error @ DataplaneError::Full(_)) => {
                    assert!(error.to_string().contains(remedy), "{error}");
                }
                other => bail!("{refused:?}: {other:?}"),
            }
        }
        assert_eq!(kernel.read()?.v4.nodes.len(), 2);
        Ok(())
    })
}

/// Flows that stay while others come and go.
const LASTING: u16 = 5_000;
/// Flows at a time that come and go.
const PASSING: u16 = 2_000;

fn flow_key(client: u8, port: u16) -> FlowKey<Ip4> {
    FlowKey {
        source: Ip4::new(10, 42, 0, client),
        source_port: port,
        destination_port: 80,
        protocol: 6,
        ..FlowKey::default()
    }
}

#[test]
fn flows_are_listed_whole_while_others_come_and_go() -> Result<()> {
    need::root();
    let install = Install::new("flows")?;
    let node = SmallNode::new()?;
    node.netns().run(|| {
        let kernel = install.start()?.tables()?;
        let path = install.pins().join("flows4");
        let flows: Map<FlowKey<Ip4>, Flow<Ip4>> = Map::open(&path)?;
        let flow = Flow::default();
        for port in 0..LASTING {
            flows.update(&flow_key(1, port), &flow)?;
        }
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let churn = scope.spawn(|| -> Result<()> {
                while !over.load(Ordering::Relaxed) {
                    for port in 0..PASSING {
                        flows.update(&flow_key(2, port), &flow)?;
                    }
                    for port in 0..PASSING {
                        flows.delete(&flow_key(2, port))?;
                    }
                }
                Ok(())
            });
            let listed = (0..20).try_for_each(|_| -> Result<()> {
                let seen = kernel.v4.flows(usize::MAX)?;
                let lasting = seen.iter().filter(|(key, _)| key.source.octets[3] == 1);
                let lasting: BTreeSet<u16> = lasting.map(|(key, _)| key.source_port).collect();
                assert_eq!(lasting.len(), usize::from(LASTING));
                Ok(())
            });
            over.store(true, Ordering::Relaxed);
            churn.join().expect("no panic")?;
            listed
        })?;

        assert_eq!(kernel.v4.flows(100)?.len(), 100);
        // By small batches, as the sweep goes.
        let (mut cursor, mut seen) = (Cursor::default(), 0);
        while !cursor.ended {
            seen += kernel.v4.flows_from(&mut cursor, 64)?.len();
        }
        assert_eq!(seen, usize::from(LASTING));
        kernel.v4.delete_flow(&flow_key(1, 7))?;
        kernel.v4.delete_flow(&flow_key(1, 7))?;
        assert_eq!(kernel.v4.flow(&flow_key(1, 7))?, None);
        assert_eq!(kernel.v4.flow(&flow_key(1, 8))?, Some(flow));
        Ok(())
    })
}
