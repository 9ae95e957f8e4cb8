//! The programs fit into every kernel, with room for what is to come.

use anyhow::Result;
use lb_tests::datapath::verifier::{self, Cost};
use lb_tests::need;

/// Programs that take packets in: the kernel gives up at a million.
const ENTERING: Cost = Cost {
    verified: 250_000,
    stack: 512,
    instructions: 20_000,
};

/// Programs that let packets out. Kernel 5.10 takes longest for them, which prunes less of what is in
/// registers.
const LEAVING: Cost = Cost {
    verified: 80_000,
    stack: 512,
    instructions: 12_000,
};

/// Programs that choose a backend for a socket.
const DIALLING: Cost = Cost {
    verified: 20_000,
    stack: 512,
    instructions: 4_000,
};

/// Programs that tell a socket whom it talks to.
const NAMING: Cost = Cost {
    verified: 1_000,
    stack: 200,
    instructions: 500,
};

fn bound(program: &str) -> Cost {
    match program {
        "tc_pod_in" | "tc_uplink_in" | "xdp_uplink" => ENTERING,
        "tc_pod_out" | "tc_uplink_out" => LEAVING,
        name if name.starts_with("sock_connect") || name.starts_with("sock_sendmsg") => DIALLING,
        _ => NAMING,
    }
}

#[test]
fn every_program_stays_far_from_the_verifiers_limits() -> Result<()> {
    need::root();
    let mut figures = Vec::new();
    let mut wrong = Vec::new();
    for (program, cost) in verifier::costs()? {
        let cost = match cost {
            Ok(cost) => cost,
            Err(error) => {
                wrong.push(format!("{program} is refused: {error:#}"));
                continue;
            }
        };
        let Cost {
            verified,
            stack,
            instructions,
        } = cost;
        figures.push(format!("{program} {verified}/{stack}/{instructions}"));
        let bound = bound(&program);
        if verified > bound.verified || stack > bound.stack || instructions > bound.instructions {
            wrong.push(format!("{program}: {cost:?} is more than {bound:?}"));
        }
    }
    println!(
        "NOTE verified instructions/bytes of stack/instructions: {}",
        figures.join(", ")
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Said here for every kernel, as it is the oldest one that refuses, and machines are slow to boot.
#[test]
fn no_program_has_a_loop_that_the_oldest_kernel_refuses() -> Result<()> {
    let refused = verifier::refused_loops()?;
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    Ok(())
}
