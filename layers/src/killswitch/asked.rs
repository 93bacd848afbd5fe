//! What a layer tells the switchboard of a request, so that kills for some only can be judged.

use std::{fmt, net::IpAddr, sync::Arc};

use http::{Extensions, Request};

use crate::{
    rejected::Rejected,
    subject::{Subject, Tenant},
    switchboard::{
        kill::Mode,
        scope::{Asked, Who},
    },
};

/// Which kills a layer obeys. A kill that names a subject, a tenant or a share can be judged only once it is known who asks;
/// all others are better obeyed before anybody is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// All: it stands alone.
    #[default]
    Alone,
    /// Those that don't depend on who asks.
    BeforeAuthentication,
    /// All, but it tells nobody of what the one before has told already.
    BehindAuthentication,
}

type Watch = Arc<dyn Fn(Mode, &Rejected) + Send + Sync>;

/// Where a layer stands, and what it sees from there.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) route: Option<Arc<str>>,
    pub(super) region: Option<Arc<str>>,
    pub(super) address: fn(&Extensions) -> Option<IpAddr>,
    pub(super) stage: Stage,
    pub(super) watch: Option<Watch>,
}

impl Place {
    pub(super) fn asked<'r, B>(&'r self, request: &'r Request<B>) -> Asked<'r> {
        let extensions = request.extensions();
        let who = match self.stage {
            Stage::BeforeAuthentication => Who::NotYet,
            Stage::Alone | Stage::BehindAuthentication => Who::Known {
                subject: extensions.get::<Subject>().map(Subject::as_str),
                tenant: extensions.get::<Tenant>().map(Tenant::as_str),
            },
        };
        Asked {
            route: self.route.as_deref(),
            region: self.region.as_deref(),
            method: Some(request.method()),
            headers: Some(request.headers()),
            address: (self.address)(extensions),
            who,
        }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self { route: None, region: None, address: |_| None, stage: Stage::Alone, watch: None }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("route", &self.route)
            .field("region", &self.region)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
