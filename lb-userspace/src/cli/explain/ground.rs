//! From what is an answer drawn: the maps in the kernel, or manifests?

use std::collections::BTreeMap;

use lb_common::layout::{Affinity, AffinityKey};
use lb_common::{Ip4, Ip6};

use crate::cli::error::CliError;
use crate::cli::manifests;
use crate::cli::source::Source;
use crate::dataplane::kernel::KernelFamily;
use crate::explain::{Answer, FamilyTraffic, Known, Planned, Question, Traffic, explain, flow_key};
use crate::settings::Settings;
use crate::state::State;
use crate::tables::Tables;

/// What answers are drawn from.
pub(super) enum Ground {
    /// The maps in the kernel, as they were read.
    Live(Box<Live>),
    /// What the manifests would make of this node.
    Planned(Box<Planned>),
}

/// What the maps held.
pub(super) struct Live {
    source: Source,
    tables: Tables,
    affinities4: Affinities<Ip4>,
    affinities6: Affinities<Ip6>,
    now: u32,
}

/// Affinities, those of one client side by side.
type Affinities<A> = BTreeMap<A, Vec<(AffinityKey<A>, Affinity)>>;

impl Ground {
    /// The manifests of the settings, or the maps where there are none or `live` asks for them.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn new(settings: &Settings, live: bool) -> Result<Self, CliError> {
        if !live && !settings.manifests.is_empty() {
            let planned = manifests::plan(settings, None)?;
            return Ok(Self::Planned(Box::new(planned)));
        }
        let source = Source::open(settings)?;
        Ok(Self::Live(Box::new(Live {
            tables: source.tables()?,
            affinities4: affinities(&source)?,
            affinities6: affinities(&source)?,
            now: source.clock()?.map_or(0, |clock| clock.now),
            source,
        })))
    }

    /// Answers a question.
    ///
    /// # Errors
    /// A map cannot be read, or the question names an address of each family.
    pub(super) fn explain(&self, question: &Question) -> Result<Answer, CliError> {
        let nothing = State::default();
        Ok(match self {
            Self::Planned(planned) => explain(
                question,
                &Known {
                    tables: &planned.tables,
                    state: &planned.state,
                    traffic: None,
                },
            )?,
            Self::Live(live) => explain(
                question,
                &Known {
                    tables: &live.tables,
                    state: live.source.state().unwrap_or(&nothing),
                    traffic: Some(&live.traffic(question)?),
                },
            )?,
        })
    }

    /// Says how old the answers are, if they may be.
    pub(super) fn remark(&self) {
        if let Self::Live(live) = self
            && let Some(remark) = live.source.remark()
        {
            eprintln!("{remark}");
        }
    }
}

impl Live {
    /// What the programs wrote about this very flow and this client.
    fn traffic(&self, question: &Question) -> Result<Traffic, CliError> {
        Ok(Traffic {
            v4: family_traffic(question, &self.source, &self.affinities4)?,
            v6: family_traffic(question, &self.source, &self.affinities6)?,
            now: self.now,
        })
    }
}

fn family_traffic<A: KernelFamily>(
    question: &Question,
    source: &Source,
    affinities: &Affinities<A>,
) -> Result<FamilyTraffic<A>, CliError> {
    let mut traffic = FamilyTraffic::default();
    let Some(key) = flow_key::<A>(question) else {
        return Ok(traffic);
    };
    if let Some(flow) = A::maps(source.kernel()).flow(&key)? {
        traffic.flows.insert(key, flow);
    }
    let of_client = affinities.get(&key.source).into_iter().flatten();
    traffic.affinities.extend(of_client.copied());
    Ok(traffic)
}

fn affinities<A: KernelFamily>(source: &Source) -> Result<Affinities<A>, CliError> {
    let mut affinities = Affinities::<A>::new();
    for (key, affinity) in A::maps(source.kernel()).affinities()? {
        let of_client = affinities.entry(key.client).or_default();
        of_client.push((key, affinity));
    }
    Ok(affinities)
}
